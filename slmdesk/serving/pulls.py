"""Downloads that a program asks for over an API: they are jobs as those of the window, and outlive who asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from slmdesk.catalog.names import one_model
from slmdesk.core.errors import SlmDeskError
from slmdesk.downloads.kind import KIND
from slmdesk.downloads.plan import DownloadPlan
from slmdesk.library.names import LOCAL, quant_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.serving.models import Models


class Fetcher(Protocol):
    """What plans a download and sends it on its way; one that is under way already is taken up."""

    async def fetch(self, repo: str, wanted: str, revision: str) -> tuple[DownloadPlan, Job]: ...


@dataclass(frozen=True, slots=True)
class PullStep:
    """How far a pull is. `completed` and `total` are bytes; `digest` names the largest file's content."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


class Pulls:
    """Of one service."""

    def __init__(self, models: Models, fetcher: Fetcher, jobs: Jobs) -> None:
        self._models = models
        self._fetcher = fetcher
        self._jobs = jobs

    async def pull(self, name: str) -> AsyncIterator[PullStep]:
        """Bring a model here, and tell how that goes. Who stops listening stops nothing.

        `name`: publisher/name[:QUANT], an address of the hub, or a model that is no hub's, which is here already.
        Raises what planning a download raises, and what its job ended with; `job_paused` where it waits for a person
        or for something to pass, `job_cancelled`.
        """
        yield PullStep("pulling manifest")
        if await self._here_only(name):
            yield PullStep("success")
            return
        repo, wanted, revision = _read(name)
        plan, job = await self._fetcher.fetch(repo, wanted, revision)
        largest = max(plan.files, key=lambda file: file.size)
        digest = f"sha256:{largest.sha256}" if largest.sha256 else f"sha1:{largest.oid}"
        label = f"pulling {largest.key[:12]}"
        yield PullStep(label, digest, plan.size, min(int(job.done), plan.size))
        async for seen in self._jobs.watch(job.id):
            if seen.ended or (seen.state == "paused" and not seen.wish and seen.resume_at is None):
                raise_how_it_ended(seen)
                break
            yield PullStep(label, digest, plan.size, min(int(seen.done), plan.size))
        yield PullStep(label, digest, plan.size, plan.size)
        yield PullStep("verifying sha256 digest")
        yield PullStep("success")

    async def cancel(self, name: str) -> int:
        """End the downloads of this model that are under way, and remove what came; returns how many there were."""
        found = one_model(name)
        if found is None:
            return 0
        repo, wanted, _ = found
        ended = 0
        for job in await self._jobs.list(("queued", "running", "paused", "interrupted")):
            ending = job.wish in {"cancel", "cancel_keep"}
            if job.kind == KIND and not ending and _brings(job, repo, wanted):
                await self._jobs.cancel(job.id)
                ended += 1
        return ended

    async def _here_only(self, name: str) -> bool:
        """Whether this is a model that no hub has: created here, come with the program, or of no publisher."""
        if await self._models.names.created(name) is not None:
            return True
        try:
            file = await self._models.find(name, trusted=False)
        except SlmDeskError:
            return False
        return file.shipped == "guide" or (
            file.home is not None and ("/" not in name or name.startswith(f"{LOCAL}/"))
        )


def _read(name: str) -> tuple[str, str, str]:
    """Repository, the quant or file that is wanted, and the revision. Raises `name_invalid`."""
    found = one_model(name)
    if found is None:
        raise SlmDeskError(
            "name_invalid",
            f"{name[:100]!r} names no model of the hub.",
            "Ask for publisher/name or hf.co/publisher/name:QUANT.",
        )
    repo, wanted, revision = found
    return repo, "" if wanted.casefold() == "latest" else wanted, revision


def _brings(job: Job, repo: str, wanted: str) -> bool:
    try:
        plan = DownloadPlan.from_json(job.parameters)
    except (SlmDeskError, KeyError, TypeError):
        return False
    if plan.repo.casefold() != repo.casefold():
        return False
    asked = wanted.casefold()
    names = {file.local.casefold() for file in plan.files}
    quants = {quant_in(name.rpartition(".")[0]).casefold() for name in names}
    return asked in {"", "latest"} or asked in names or asked in quants


def raise_how_it_ended(job: Job) -> None:
    """Nothing for a job that is done. Raises what a job failed with, `job_cancelled`, or why it waits."""
    if job.state == "cancelled":
        raise SlmDeskError("job_cancelled", f"{job.title} was cancelled.", "Ask again to begin anew.")
    if job.state == "failed":
        raise job.error or SlmDeskError("job_failed", f"{job.title} failed.", "Ask again.")
    if job.state == "paused":
        reason = job.error or SlmDeskError("job_paused", f"{job.title} was paused.")
        hint = f"{reason.hint} What there is is kept; ask again to go on.".strip()
        raise SlmDeskError(reason.code, reason.message, hint)
