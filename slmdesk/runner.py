"""`slmdesk work`: the process that runs the jobs of this user, one at a time; front ends start it.

Here the kinds of jobs get the rooms of the application that they work with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_kinds import JobKind
from slmdesk.core.jobs.job_runner import JobRunner
from slmdesk.core.logs import configure, release
from slmdesk.core.made_with import settings_of
from slmdesk.core.paths import Paths
from slmdesk.core.secrets import Secrets
from slmdesk.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slmdesk.core.jobs.job_kinds import RunningJob
    from slmdesk.core.jobs.job_store import Job

_IDLE_S = 15.0
_LOCK_S = 10.0  # for another runner that is just ending
_INPUT_LIMIT = 64 * 1024
_log = logging.getLogger(__name__)


def _download(rooms: Application) -> JobKind:
    from slmdesk.downloads.kind import DownloadKind

    return DownloadKind(rooms.hub, rooms.settings, rooms.space, rooms.paths.models)


def _quantize(rooms: Application) -> JobKind:
    from slmdesk.quantize.job import QuantizeKind

    return QuantizeKind(rooms.paths, rooms.database, rooms.job_store, rooms.space, rooms.converter)


def _file_tool(rooms: Application) -> JobKind:
    from slmdesk.quantize.file_tools.tool_job import FileToolKind

    return FileToolKind(rooms.paths, rooms.job_store, rooms.space, rooms.converter)


def _verify(rooms: Application) -> JobKind:
    from slmdesk.library.jobs import VerifyJobs

    return VerifyJobs(rooms.library)


def _import(rooms: Application) -> JobKind:
    from slmdesk.library.jobs import ImportJobs

    return ImportJobs(rooms.library, rooms.space)


def _duplicates(rooms: Application) -> JobKind:
    from slmdesk.library.jobs import DuplicateJobs

    return DuplicateJobs(rooms.library)


def _move_folder(rooms: Application) -> JobKind:
    from slmdesk.library.jobs import MoveFolderJobs

    return MoveFolderJobs(rooms.library, rooms.settings, rooms.space, rooms.job_store)


class _AsMade(JobKind):
    """A kind whose jobs each work with the settings they were made with."""

    def __init__(self, make: Callable[[Application], JobKind], rooms: Application) -> None:
        self._make, self._rooms = make, rooms
        self._one = make(rooms)
        self.name, self.resumes, self.patience_s = self._one.name, self._one.resumes, self._one.patience_s

    def limit(self) -> int:
        return self._one.limit()

    async def run(self, job: RunningJob) -> dict[str, Any]:
        return await self._of(job.parameters).run(job)

    async def discard(self, job: Job, *, keep: bool) -> None:
        await self._of(job.parameters).discard(job, keep=keep)

    async def may_resume(self, job: Job) -> bool:
        return await self._of(job.parameters).may_resume(job)

    def _of(self, parameters: Mapping[str, Any]) -> JobKind:
        settings = settings_of(parameters, self._rooms.settings)
        return self._make(self._rooms.with_settings(settings))


# A download looks at what it was made with itself, as all share one line; moving a folder is about the settings of now.
_SHARED = {"download", "move-folder"}

# Each imports its room when the first job of the kind comes.
KINDS: dict[str, Callable[[Application], JobKind]] = {
    "download": _download,
    "quantize": _quantize,
    "file tool": _file_tool,
    "verify": _verify,
    "import": _import,
    "duplicates": _duplicates,
    "move-folder": _move_folder,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the jobs until nothing is left to do; the exit code."""
    parser = argparse.ArgumentParser(prog="slmdesk work")
    parser.add_argument("--secrets-on-stdin", action="store_true")
    parser.add_argument("--idle-s", type=float, default=_IDLE_S)
    parser.add_argument("--expect", default="")
    args = parser.parse_args(sys.argv[2:] if argv is None else argv)
    secrets = Secrets()
    if args.secrets_on_stdin:
        _take(secrets)
    paths = Paths.resolve()
    rooms = Application(paths, Settings(paths.settings_file), secrets=secrets)
    try:
        paths.ensure()
        rooms.settings.load()
        configure(paths, "runner", str(rooms.settings.get("logs.level")))
        return _run_alone(rooms, args)
    except SlmDeskError as error:
        _log.error("the jobs cannot be run: %s", error)
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        release()


def _run_alone(rooms: Application, args: argparse.Namespace) -> int:
    """One runner a user: a second one ends at once."""
    import filelock

    lock = filelock.FileLock(str(rooms.paths.runtime / "runner.lock"), mode=0o600, thread_local=False)
    deadline = time.monotonic() + _LOCK_S
    try:
        while True:
            with suppress(filelock.Timeout):
                lock.acquire(blocking=False)
                break
            # The one that holds it works on; unless it has just told that it ends.
            if asyncio.run(rooms.job_store.runner()) is not None or time.monotonic() > deadline:
                return 0
            time.sleep(0.05)
        return asyncio.run(_run(rooms, args.idle_s, args.expect))
    finally:
        rooms.database.close()
        lock.release(force=True)


async def _run(rooms: Application, idle_s: float, expected: str) -> int:
    kinds = {name: _bound(name, make, rooms) for name, make in KINDS.items()}
    runner = JobRunner(rooms.job_store, rooms.space, kinds, idle_s=idle_s)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, runner.end)
    ending = await runner.run(expected)
    _log.info("no more jobs are run: %s", ending)
    return 0


def _bound(name: str, make: Callable[[Application], JobKind], rooms: Application) -> Callable[[], JobKind]:
    return (lambda: make(rooms)) if name in _SHARED else (lambda: _AsMade(make, rooms))


def _take(secrets: Secrets) -> None:
    """Secrets that the starter has in memory alone come as one line of JSON."""
    try:
        given = json.loads(sys.stdin.buffer.readline(_INPUT_LIMIT))
    except ValueError:
        return
    if isinstance(given, dict):
        for name, value in given.items():
            secrets.hold(str(name), str(value))
