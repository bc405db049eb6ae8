"""Downloads as front ends ask for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.downloads.kind import KIND
from slmdesk.downloads.plan import DownloadPlan, make_plan
from slmdesk.downloads.transfer import drive_missing, partial_size
from slmdesk.hub.access import TOKEN_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.core.secrets import Secrets
    from slmdesk.core.space import Space
    from slmdesk.hub.access import HubAccess
    from slmdesk.hub.repo import RepoInfo
    from slmdesk.library.library import Library


class Downloads:
    """Plans downloads and hands them to the queue. Pausing, resuming and the like is `Jobs`' own."""

    def __init__(
        self,
        hub: HubAccess,
        jobs: Jobs,
        space: Space,
        library: Library,
        *,
        secrets: Secrets,
        default_root: Path,
    ) -> None:
        self._hub = hub
        self._jobs = jobs
        self._space = space
        self._library = library
        self._secrets = secrets
        self._default_root = default_root

    async def ready(self) -> None:
        """A download is about to be asked for: its process may start now. Raises `child_start_failed`."""
        await self._hand_token()
        await self._jobs.wake(expecting=KIND)

    async def plan(
        self,
        repo: str,
        files: Sequence[str],
        *,
        revision: str = "main",
        info: RepoInfo | None = None,
        insist: bool = False,
        root: Path | None = None,
    ) -> DownloadPlan:
        """What fetching these files of a repository means; see `make_plan` for what it raises.

        `info`: what the hub said of that revision a moment ago. `insist` takes pickle files and files the hub's
        scanners warn of, too. `root` is a models folder; the first one by default.
        """
        chosen = root or self._library.folders[0]
        return await make_plan(self._hub, repo, files, chosen, revision=revision, info=info, insist=insist)

    async def start(self, plan: DownloadPlan, title: str = "") -> Job:
        """Queue a planned download with its space reserved. A download of the same files that is under way is
        returned instead, and goes on if it was paused.

        Raises `disk_full` or `drive_missing`; nothing is queued then.
        """
        if not await asyncio.to_thread(plan.root.is_dir) and plan.root != self._default_root:
            raise drive_missing(plan.root)
        for job in await self._jobs.list(("queued", "running", "paused", "interrupted", "failed")):
            if job.kind == KIND and _same(job, plan):
                if job.state == "failed":
                    return await self._again(job, plan)
                # Whoever asks anew means the hub and the proxy of now.
                return await self._jobs.resume(job.id, here=job.state != "running")
        await self._hand_token()
        left = await asyncio.to_thread(_to_write, plan)
        promise = await self._space.promise(plan.folder, left)
        return await self._jobs.submit(KIND, title or _title(plan), plan.to_json(), also=promise)

    async def resume(self, job_id: str, *, here: bool = False) -> Job:
        """`Jobs.resume` for a download: the token of this session goes along. Raises also `token_invalid`."""
        await self._hand_token()
        return await self._jobs.resume(job_id, here=here)

    async def _again(self, job: Job, plan: DownloadPlan) -> Job:
        """A failed one makes room for a new try with what the hub says now."""
        await self._jobs.forget(job.id)
        return await self.start(plan, job.title)

    async def _hand_token(self) -> None:
        """What the environment holds reaches the process that downloads as a secret without a keyring does."""
        token = await self._hub.find_token()
        if token and self._hub.token_source in {"variable", "file"}:
            self._secrets.hold(TOKEN_NAME, token)
        self._hub.hand_logins()


def _title(plan: DownloadPlan) -> str:
    names = [file.local.rpartition("/")[2] for file in plan.files]
    return f"{plan.repo}: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _to_write(plan: DownloadPlan) -> int:
    return sum(file.size - partial_size(plan.partial(file), file.size) for file in plan.files)


def _same(job: Job, plan: DownloadPlan) -> bool:
    try:
        other = DownloadPlan.from_json(job.parameters)
    except (SlmDeskError, KeyError, TypeError):
        return False
    return other.folder == plan.folder and {(f.local, f.key) for f in other.files} == {
        (f.local, f.key) for f in plan.files
    }
