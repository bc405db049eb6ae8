"""The job that downloads: all files of a plan, one after the other, each checked and moved into place."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from slmdesk.core.error_codes import HUB_AWAY, NO_ROOM
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_kinds import JobKind, RunningJob
from slmdesk.core.made_with import settings_of
from slmdesk.downloads.arrival import already_there, arrive, flush
from slmdesk.downloads.plan import PARTIAL_FOLDER, DownloadPlan
from slmdesk.downloads.rate_limit import RateLimit
from slmdesk.downloads.sources import HttpsSource
from slmdesk.downloads.transfer import DiskError, Transfer, TransferStoppedError, drive_missing, partial_size
from slmdesk.downloads.xet import EitherSource, XetSource
from slmdesk.hub.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.core.settings import Settings
    from slmdesk.core.space import Space
    from slmdesk.downloads.plan import PlannedFile
    from slmdesk.downloads.sources import StreamSource
    from slmdesk.hub.access import HubAccess

P = ParamSpec("P")
T = TypeVar("T")

KIND = "download"
_BEAT_S = 0.2
_SHRINK_S = 2.0
_SETTINGS_S = 1.0
_SPACE_AGAIN_S = 15.0
_HUB_AGAIN_S, _HUB_AGAIN_MOST_S = 15.0, 300.0
_REACH_S = 5.0
# Faults of the line or the hub that pass; others that are worth a retry end the job after some.
_PASSING: frozenset[ErrorCode] = HUB_AWAY | {
    "storage_unreachable",
    "proxy_failed",
    "rate_limited",
    "hub_down",
    "offline",
}
_log = logging.getLogger(__name__)


class DownloadKind(JobKind):
    """Downloads. `default_root` is the program's own models folder, the only one that is made when missing."""

    name = KIND
    resumes = True

    def __init__(self, hub: HubAccess, settings: Settings, space: Space, default_root: Path) -> None:
        self._hub = hub
        self._settings = settings
        self._space = space
        self._default_root = default_root
        self._pace = RateLimit()
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="slmdesk-download")
        self._flushing: set[asyncio.Task[None]] = set()
        self._busy: dict[Path, asyncio.Lock] = {}
        self._settings_seen: tuple[float, float] = (0.0, 0.0)

    def limit(self) -> int:
        self._look_at_settings()
        return int(self._settings.get("downloads.parallel"))

    def warm_up(self) -> None:
        import httpx2
        import huggingface_hub.utils._headers
        import huggingface_hub.utils._http

        del httpx2, huggingface_hub

    def finishing(self) -> bool:
        return bool(self._flushing)

    async def run(self, job: RunningJob) -> dict[str, Any]:
        plan = DownloadPlan.from_json(job.parameters)
        work = _DownloadState(job, plan)
        self._look_at_settings(at_once=True)  # it may be tried again because of what was just changed there
        try:
            await self._prepare(work)
            source = await self._in_thread(self._source, self._hub.as_made(job.parameters), plan, job)
            try:
                for file in plan.files:
                    await self._bring(work, source, file)
            finally:
                await self._in_thread(source.close)
            await self._in_thread(_tidy, plan)
        except HubError as error:
            raise await self._waiting(work, error) from error
        except DiskError as error:
            if error.waits:
                raise job.pause_with(error, again_in=_SPACE_AGAIN_S) from error
            raise
        return {
            "model": f"{plan.repo}",
            "revision": plan.revision,
            "files": [str(plan.target(file)) for file in plan.files],
            "bytes": plan.size,
            "fetched_bytes": work.fetched,
        }

    async def discard(self, job: Job, *, keep: bool) -> None:
        """Remove the partial files of a cancelled download; what is complete stays."""
        if not keep:
            plan = DownloadPlan.from_json(job.parameters)
            await self._in_thread(_remove_partials, plan)

    async def may_resume(self, job: Job) -> bool:
        plan = DownloadPlan.from_json(job.parameters)
        code = job.error.code if job.error else ""
        self._look_at_settings()
        if code == "drive_missing":
            return await self._in_thread(plan.root.is_dir)
        if code == "disk_full":
            left = await self._in_thread(_left, plan)
            return await self._space.free(plan.folder, besides=job.id) >= left
        hub = self._hub.as_made(job.parameters)
        if code == "offline":
            return not hub.offline
        if code in HUB_AWAY and not hub.way().proxies:
            return await self._in_thread(_reachable, hub.endpoint)
        return True

    async def _prepare(self, work: _DownloadState) -> None:
        """The disk is there, and there is room."""
        plan, job = work.plan, work.job
        if not await self._in_thread(plan.root.is_dir):
            if plan.root != self._default_root:
                raise DiskError(drive_missing(plan.root), waits=True)
            await self._in_thread(_make, plan)
        try:
            await self._space.reserve(job.id, plan.folder, await self._in_thread(_left, plan))
        except SlmDeskError as error:
            if error.code in NO_ROOM:
                raise DiskError(error, waits=True) from error
            raise

    def _source(self, hub: HubAccess, plan: DownloadPlan, job: RunningJob) -> StreamSource:
        way = settings_of(job.parameters, self._settings).get("downloads.transfer")
        hub.token(fresh=True)
        https = HttpsSource(hub, plan)
        if way == "https" or (way == "auto" and not (hub.direct and _has_xet())):
            return https
        xet = XetSource(https, hub.endpoint)
        return xet if way == "xet" else EitherSource(xet, https, job.log)

    async def _bring(self, work: _DownloadState, source: StreamSource, file: PlannedFile) -> None:
        """One file, unless it is there already. Two jobs never write the same one at once."""
        plan = work.plan
        async with self._busy.setdefault(plan.partial(file), asyncio.Lock()):
            await work.job.checkpoint()
            if not await self._in_thread(already_there, plan, file):
                await self._fetch(work, source, file)
                await work.job.tell(f"checking {file.local}")
                await self._in_thread(arrive, plan, file)
                flushing = asyncio.create_task(self._in_thread(flush, plan, file))
                self._flushing.add(flushing)
                flushing.add_done_callback(self._flushing.discard)
        work.finished += file.size
        await self._progress(work, None, file)

    async def _fetch(self, work: _DownloadState, source: StreamSource, file: PlannedFile) -> None:
        transfer = Transfer(work.plan, file, source, self._pace, work.job.log)
        task = asyncio.get_running_loop().run_in_executor(self._threads, transfer.run)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_BEAT_S)
                await self._progress(work, transfer, file)
                await work.job.checkpoint()
            task.result()
        except TransferStoppedError:
            raise asyncio.CancelledError from None
        finally:
            transfer.stop()
            if not task.done():
                await asyncio.wait({task})
            if task.done() and not task.cancelled():
                task.exception()  # seen
            work.fetched += transfer.fetched

    async def _progress(self, work: _DownloadState, transfer: Transfer | None, file: PlannedFile) -> None:
        self._look_at_settings()
        at = transfer.at if transfer is not None else 0
        done = work.finished + at
        await work.job.progress(done, work.plan.size, _detail(work.plan, transfer, file))
        if time.monotonic() - work.shrunk_at > _SHRINK_S:
            work.shrunk_at = time.monotonic()
            with suppress(SlmDeskError):
                await self._space.shrink(work.job.id, work.plan.folder, work.plan.size - done)

    async def _waiting(self, work: _DownloadState, error: HubError) -> Exception:
        """A job that pauses until the fault has passed, or the error itself."""
        if error.code not in _PASSING:
            return error
        waits = 0 if work.fetched else int(work.job.memory.get("waits", 0))
        await work.job.remember({"waits": waits + 1})
        again = min(_HUB_AGAIN_S * 2 ** min(waits, 10), _HUB_AGAIN_MOST_S)
        if error.retry_after_s is not None:
            again = max(again, min(error.retry_after_s, 3600.0))
        return work.job.pause_with(error, again_in=again)

    def _look_at_settings(self, *, at_once: bool = False) -> None:
        """Take over what was changed in another process, looking now and then or at once."""
        now = time.monotonic()
        if not at_once and now - self._settings_seen[0] < _SETTINGS_S:
            return
        try:
            changed = self._settings.path.stat().st_mtime
        except OSError:
            changed = 0.0
        if changed != self._settings_seen[1]:
            self._settings.load()
        self._settings_seen = (now, changed)
        self._pace.set(float(self._settings.get("downloads.max_rate")) * 1e6)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(function, *args, **kwargs))


class _DownloadState:
    """What one run of a job keeps in mind."""

    def __init__(self, job: RunningJob, plan: DownloadPlan) -> None:
        self.job = job
        self.plan = plan
        self.finished = 0
        self.fetched = 0
        self.shrunk_at = time.monotonic()


def _detail(plan: DownloadPlan, transfer: Transfer | None, file: PlannedFile) -> str:
    number = f" ({plan.files.index(file) + 1} of {len(plan.files)})" if len(plan.files) > 1 else ""
    doing = transfer.doing if transfer is not None else "done"
    if doing in {"", "done"}:
        return f"{file.local}{number}"
    if doing in {"downloading", "checking"}:
        return f"{doing} {file.local}{number}"
    return doing


def _left(plan: DownloadPlan) -> int:
    """Bytes still to be written."""
    return sum(
        file.size - partial_size(plan.partial(file), file.size)
        for file in plan.files
        if not already_there(plan, file, look_inside=False)
    )


def _make(plan: DownloadPlan) -> None:
    try:
        plan.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SlmDeskError(
            "folder_unwritable",
            f"The folder {plan.root} cannot be made: {error.strerror or error}.",
            "Check the permissions there, or choose another models folder in the settings.",
        ) from error


def _remove_partials(plan: DownloadPlan) -> None:
    left = 0
    for file in plan.files:
        for path in (plan.partial(file), plan.quarantine(file)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                left += 1
                _log.warning("%s was not removed: %s", path, error)
    _tidy(plan)
    if left:
        raise SlmDeskError(
            "partial_left",
            f"{left} partial files could not be removed.",
            "The library offers to remove them.",
        )


def _tidy(plan: DownloadPlan) -> None:
    """No empty folders are left behind."""
    folders = [plan.folder / PARTIAL_FOLDER]
    if not any(plan.target(file).exists() for file in plan.files):
        folders += [plan.folder, plan.folder.parent]
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _has_xet() -> bool:
    from importlib.util import find_spec

    return find_spec("hf_xet") is not None


def _reachable(endpoint: str) -> bool:
    """Whether somebody listens there; through a proxy nobody can tell beforehand."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(endpoint)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), _REACH_S).close()
    except OSError:
        return False
    return True
