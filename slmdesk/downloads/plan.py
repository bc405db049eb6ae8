"""What a download will bring: which files of which revision, how big, and by which hash they are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the codec reads it
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.downloads.names import local_paths, repo_folder
from slmdesk.hub.repo import ask_repo, is_pickle, repo_info
from slmdesk.inference.wire import converted, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.hub.access import HubAccess
    from slmdesk.hub.repo import RepoFile, RepoInfo

PARTIAL_FOLDER = ".slmdesk-partial"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file. `path` is its name on the hub, `local` the one below the model's folder. `sha256` is the hub's LFS
    value, or "" for small files, which git knows by `oid` (a SHA-1). `flag`: what the hub's scanners say."""

    path: str
    local: str
    size: int
    sha256: str
    oid: str
    flag: str = ""

    @property
    def key(self) -> str:
        """The name of its content, for the partial file."""
        return self.sha256 or self.oid


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """A whole download, enough to do it again at any time. `root` is the models folder."""

    repo: str
    revision: str
    root: Path
    files: tuple[PlannedFile, ...]
    licence: str = ""

    @property
    def folder(self) -> Path:
        """The model's folder."""
        publisher, name = repo_folder(self.repo)
        return self.root / publisher / name

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def flagged(self) -> tuple[PlannedFile, ...]:
        """Files the hub's scanners warn of."""
        return tuple(file for file in self.files if file.flag)

    def target(self, file: PlannedFile) -> Path:
        """Where the file will lie."""
        return self.folder.joinpath(*file.local.split("/"))

    def partial(self, file: PlannedFile) -> Path:
        """Where it lies while it comes. Known by its content, so that another job goes on with it."""
        return self.folder / PARTIAL_FOLDER / f"{file.key}.part"

    def quarantine(self, file: PlannedFile) -> Path:
        """Where it is put when its content is not what the hub promised."""
        return self.folder / PARTIAL_FOLDER / f"{file.key}.damaged"

    def to_json(self) -> dict[str, Any]:
        """As parameters of a job."""
        return plain(self)

    @classmethod
    def from_json(cls, data: object) -> DownloadPlan:
        """The reverse. Names are checked again: a job's row may be older than the checks."""
        plan = converted(data, cls)
        locals_ = list(local_paths(file.path for file in plan.files).values())
        if [file.local for file in plan.files] != locals_:
            raise SlmDeskError(
                "plan_old",
                "This download was planned by another version.",
                "Start it again from the catalog.",
            )
        repo_folder(plan.repo)
        return plan


async def make_plan(
    hub: HubAccess,
    repo: str,
    files: Sequence[str],
    root: Path,
    *,
    revision: str = "main",
    info: RepoInfo | None = None,
    insist: bool = False,
) -> DownloadPlan:
    """Look up what is to be fetched, and whether the hub gives it to this person. `info` is what the hub said of that
    revision a moment ago; it is asked where there is none.

    Raises `HubError` (see `hub_error` for the codes; `token_missing`, `licence_not_accepted` and `access_refused`
    name the page to open), `files_missing`, `pickle_refused`, `file_flagged` (both unless `insist`),
    `name_unsafe`, `name_invalid`.
    """
    repo_folder(repo)
    hub.require_online()
    if info is None or not info.revision:
        info = repo_info(await ask_repo(hub, repo, revision))
    known = {file.path: file for file in info.files}
    missing = [path for path in files if path not in known]
    if missing or not files:
        raise SlmDeskError(
            "files_missing",
            f"{repo} has no {missing[0]!r} on the hub." if missing else "No file was named.",
            "Look at the model's files; they may have been renamed.",
        )
    locals_ = local_paths(files)
    planned = tuple(_planned(repo, known[path], locals_[path]) for path in files)
    if not insist:
        _refuse_dangerous(repo, planned)
    commit = info.revision or revision
    if info.gate or info.private:
        # The list of files is open to all; only a file tells whether this person gets it.
        await hub.get_file(repo, planned[0].path, revision=commit, start=0, count=1)
    return DownloadPlan(info.id if _same_model(info.id, repo) else repo, commit, root, planned, info.licence)


def _refuse_dangerous(repo: str, files: Sequence[PlannedFile]) -> None:
    for file in files:
        if is_pickle(file.path):
            raise SlmDeskError(
                "pickle_refused",
                f"{file.path} of {repo} is a pickle file: loading one runs whatever program hides in it.",
                "Take the safetensors or GGUF files of the model. If you trust the publisher, insist on it.",
            )
        if file.flag == "unsafe":
            raise SlmDeskError(
                "file_flagged",
                f"The hub's scanners call {file.path} of {repo} unsafe.",
                "Choose another model. If you know better, insist on it.",
            )


def _planned(repo: str, file: RepoFile, local: str) -> PlannedFile:
    if not file.sized or not (file.sha256 or file.oid):
        raise SlmDeskError(
            "hub_answer_invalid",
            f"The hub does not say how big {file.path} of {repo} is, or what it holds.",
            "Try again in a while.",
        )
    flag = file.level if file.flagged else ""
    return PlannedFile(file.path, local, file.size, file.sha256, file.oid, flag)


def _same_model(name: str, repo: str) -> bool:
    """The hub's own spelling of a name that differs in capitals only."""
    return name.casefold() == repo.casefold()
