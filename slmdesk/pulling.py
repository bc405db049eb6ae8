"""Downloading a model of a hub: which of its files, as a plan, and on its way. Every front end asks here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.catalog.choices import find
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.catalog.catalog import Catalog
    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.pages import ModelPage
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.downloads.downloads import Downloads
    from slmdesk.downloads.plan import DownloadPlan


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What is wanted of a hub.

    Attributes:
        repo: publisher/name.
        wanted: a quant or a file's path; "" for the best that fits this machine.
        revision: a branch, tag or commit; "" for the newest.
        page: what was seen of the repository a moment ago; None asks the hub anew.
        choice: chosen on that page already; goes before `wanted`.
        or_best: take the best that runs here where `wanted` is not there, or does not run.
        insist: take pickle files and files the hub's scanners warn of, too.
        name: what the job is to be called, without the quant; "" for the files' names.
    """

    repo: str
    wanted: str = ""
    revision: str = ""
    page: ModelPage | None = None
    choice: Choice | None = None
    or_best: bool = False
    insist: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Pull:
    """A download that is planned: its files, and what its job is called ("": after the files)."""

    plan: DownloadPlan
    title: str = ""


class Pulling:
    """Chooses with the catalog and downloads with the queue."""

    def __init__(self, catalog: Catalog, downloads: Downloads) -> None:
        self._catalog = catalog
        self._downloads = downloads

    async def plan(self, request: PullRequest) -> Pull:
        """What would be fetched. Raises what `Catalog.model_page`, `Catalog.choose` and `Downloads.plan` raise,
        `model_parts_missing`, and with `or_best` `files_missing` where nothing runs here."""
        page = request.page
        if page is None:
            page = await self._catalog.model_page(request.repo, revision=request.revision, refresh=True)
        files, quant = await self._files(page, request)
        plan = await self._downloads.plan(
            page.repo,
            files,
            revision=request.revision or page.info.revision or "main",
            info=page.asked,
            insist=request.insist,
        )
        return Pull(plan, f"{request.name} {quant}".strip() if request.name else "")

    async def start(self, pull: Pull) -> Job:
        """Send it on its way. Raises what `Downloads.start` raises; nothing is queued then."""
        return await self._downloads.start(pull.plan, pull.title)

    async def pull(self, request: PullRequest) -> Job:
        """`plan` and `start` in one."""
        return await self.start(await self.plan(request))

    async def fetch(self, repo: str, wanted: str = "", revision: str = "") -> tuple[DownloadPlan, Job]:
        """`pull` for who names a model by three texts; what is fetched, and its job."""
        await self._downloads.ready()
        pull = await self.plan(PullRequest(repo, wanted, revision))
        return pull.plan, await self.start(pull)

    async def _files(self, page: ModelPage, request: PullRequest) -> tuple[Sequence[str], str]:
        """The files' paths, and the quant they are."""
        choice = request.choice
        if choice is None and request.or_best:
            choice = await self._or_best(page, request.wanted)
        elif choice is None and any(file.path == request.wanted for file in page.info.files):
            return _with_its_parts(page, request.wanted), ""
        elif choice is None:
            choice = await self._catalog.choose(page, request.wanted)
        if choice.missing_parts:
            raise SlmDeskError(
                "model_parts_missing",
                f"{choice.missing_parts} parts of {choice.id} are not on the hub.",
                "Choose another quant.",
            )
        return [file.path for file in choice.files], choice.quant

    async def _or_best(self, page: ModelPage, wanted: str) -> Choice:
        choice = find(page.choices, wanted)
        if choice is None or not choice.runs:
            choice = (await self._catalog.judge(page)).best
        if choice is None or not choice.runs:
            raise SlmDeskError(
                "files_missing",
                f"{page.repo} has no file that runs here any more.",
                "Look at other models in the catalog.",
            )
        return choice


def _with_its_parts(page: ModelPage, path: str) -> Sequence[str]:
    """One part of a split file is of no use alone."""
    for choice in page.choices:
        inside = [file.path for file in choice.files]
        if choice.kind == "gguf" and path in inside:
            return inside
    return [path]
