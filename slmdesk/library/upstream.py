"""Has a publisher changed a file since it was downloaded? Asked of the hub; nothing is downloaded."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from msgspec import field
from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.hub.repo import ask_repo, repo_info
from slmdesk.inference.wire import Wire
from slmdesk.library import sidecar
from slmdesk.library.verify import entry_place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from slmdesk.hub.access import HubAccess
    from slmdesk.hub.repo import RepoInfo
    from slmdesk.library.library import Library
    from slmdesk.library.records import FileState, LibraryFile
    from slmdesk.library.sidecar import Origin

_AT_ONCE = 4


class UpstreamCheck(Wire, frozen=True):
    """What the hub has of one file now. `revision` is the newest one there; `changed` says the content differs,
    `gone` that the file is no longer published. `problem`: the hub could not be asked about its repo."""

    file_id: str = field(name="id")
    repo: str
    ours: str = field(name="our_revision")
    revision: str = ""
    changed: bool = False
    gone: bool = False
    problem: SlmDeskError | None = None


class Upstream:
    """Compares files of the library with the repos they came from."""

    def __init__(self, library: Library, hub: HubAccess) -> None:
        self._library = library
        self._hub = hub

    async def check(
        self, files: Sequence[LibraryFile], on_file: Callable[[UpstreamCheck], None] | None = None
    ) -> list[UpstreamCheck]:
        """Ask about each repo once and write down which files changed; files of unknown origin are left out.

        A newer revision with the same content is no change. Raises `HubError("offline")`; a single repo that
        cannot be asked is told in its files' checks, and their states stay.
        """
        self._hub.require_online()
        repos = sorted({origin.repo for file in files for origin in file.origins if origin.repo})
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(repo: str) -> RepoInfo | SlmDeskError:
            async with gate:
                try:
                    return repo_info(await ask_repo(self._hub, repo))
                except SlmDeskError as error:
                    return error

        answers = dict(zip(repos, await asyncio.gather(*map(ask, repos)), strict=True))
        checks: list[UpstreamCheck] = []
        for file in files:
            found = await asyncio.to_thread(_compared, file, answers)
            checks += found
            for check in found:
                if on_file is not None:
                    on_file(check)
        self._library.forget_listing()
        return checks


def _compared(file: LibraryFile, answers: dict[str, RepoInfo | SlmDeskError]) -> list[UpstreamCheck]:
    """One check a part; and the finding in the sidecar."""
    checks: list[UpstreamCheck] = []
    for part in file.parts or (file.path,):
        place = entry_place(file, part)
        origin = sidecar.read(place[0]).get(place[1]) if place else None
        if place is None or origin is None or not origin.repo:
            continue
        answer = answers.get(origin.repo)
        base = UpstreamCheck(file.id, origin.repo, origin.revision)
        if answer is None or isinstance(answer, SlmDeskError):
            checks.append(replace(base, problem=answer))
            continue
        there = _content(answer, place[1])
        same_revision = bool(answer.revision) and answer.revision == origin.revision
        gone = there is None and not same_revision
        changed = gone or not (same_revision or _same(origin, there or ""))
        checks.append(replace(base, revision=answer.revision, changed=changed, gone=gone))
        if changed or origin.state == "changed upstream":
            _keep(place, changed=changed, revision=answer.revision)
    return checks


def _same(origin: Origin, there: str) -> bool:
    """Whether the content is ours as far as can be told: by SHA-256, or by git's own hash for small files."""
    ours = [
        known for known in (origin.sha256, str(origin.extra.get("git_oid", ""))) if len(known) == len(there)
    ]
    return not there or not ours or there in ours


def _content(repo: RepoInfo, name: str) -> str | None:
    """The hash of the file of that path, or of the only one of that name."""
    last = name.rpartition("/")[2]
    same = [file for file in repo.files if file.path.rpartition("/")[2] == last]
    file = repo.file(name) or (same[0] if len(same) == 1 else None)
    return (file.sha256 or file.oid) if file is not None else None


def _keep(place: tuple[Path, str], *, changed: bool, revision: str) -> None:
    def entry(_: str, now: Origin) -> Origin:
        if changed and now.state in {"verified", "unverified", "changed upstream"}:
            return dataclasses.replace(now, state="changed upstream", changed_at=revision)
        if not changed and now.state == "changed upstream":
            # The publisher went back. What it was before is not known; verifying tells.
            state: FileState = "unverified"
            return dataclasses.replace(now, state=state, changed_at="")
        return now

    try:
        sidecar.change(place[0], [place[1]], entry)
    except SlmDeskError:
        return  # asked again the next time
