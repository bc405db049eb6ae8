"""One repository of a hub as it describes itself: which revision, which files, and who may have them.

Whatever a hub sends, reading it does not raise: what cannot be used is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.hub.access import HubAccess

Gate = Literal["", "auto", "manual"]
Level = Literal["", "safe", "queued", "suspicious", "unsafe", "error"]
# Files that run whatever program hides in them when they are loaded.
PICKLE_ENDINGS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".mar")
MOST_FILES = 20_000
_MOST_BYTES = 1 << 46  # 64 TiB: more is a lie


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file. `sha256` is the hub's LFS value, "" for small files, which git knows by `oid` (a SHA-1). `level`: what
    the hub's scanners say. `sized` is False where the hub does not say how large it is; `size` is 0 then."""

    path: str
    size: int
    sha256: str = ""
    level: Level = ""
    oid: str = ""
    sized: bool = True

    @property
    def flagged(self) -> bool:
        """Whether the hub's scanners warn of it."""
        return self.level in {"unsafe", "suspicious"}


@dataclass(frozen=True, slots=True)
class RepoInfo:
    """`id` is the hub's own spelling, "" where it does not say. `gate`: its licence must be accepted first ("manual":
    and the publisher then decides). `scanned` is None where the hub does not say."""

    id: str = ""
    revision: str = ""
    files: tuple[RepoFile, ...] = ()
    gate: Gate = ""
    private: bool = False
    scanned: bool | None = None
    licence: str = ""

    def file(self, path: str) -> RepoFile | None:
        """The file of that path."""
        return next((file for file in self.files if file.path == path), None)


async def ask_repo(hub: HubAccess, repo: str, revision: str = "") -> Any:
    """What a hub says of a repository, for `repo_info`. Raises `HubError`."""
    path = f"/api/models/{quote(repo)}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
    return (await hub.get_json(path, {"blobs": "true", "securityStatus": "true"}, repo=repo)).data


def repo_info(data: Any) -> RepoInfo:
    """The repository that an answer of `ask_repo` describes."""
    told = data if isinstance(data, dict) else {}
    status = told.get("securityRepoStatus")
    status = status if isinstance(status, dict) else None
    card = told.get("cardData")
    card = card if isinstance(card, dict) else {}
    gated, licence = told.get("gated"), card.get("license")
    listed = told.get("siblings")
    levels = _levels(status)
    found = [_file(one, levels) for one in listed[:MOST_FILES]] if isinstance(listed, list) else []
    return RepoInfo(
        id=_text(told, "id"),
        revision=_text(told, "sha"),
        files=tuple(file for file in found if file is not None),
        gate="manual" if gated == "manual" else "auto" if gated else "",
        private=bool(told.get("private")),
        scanned=bool(status.get("scansDone")) if status else None,
        licence=", ".join(map(str, licence)) if isinstance(licence, list) else _text(card, "license"),
    )


def is_pickle(path: str) -> bool:
    """Whether loading such a file may run a program hidden in it."""
    return PurePosixPath(path).suffix.lower() in PICKLE_ENDINGS


def _file(entry: object, levels: Mapping[str, Level]) -> RepoFile | None:
    path = _text(entry, "rfilename")
    if not isinstance(entry, dict) or not path:
        return None
    lfs = entry.get("lfs")
    large = lfs if isinstance(lfs, dict) else {}
    told = large.get("size", entry.get("size"))
    size = told if type(told) is int and 0 <= told < _MOST_BYTES else None
    sha256, oid = _text(large, "sha256").lower(), _text(entry, "blobId").lower()
    return RepoFile(
        path,
        size or 0,
        sha256 if _is_hex(sha256, 64) else "",
        levels.get(path, ""),
        oid if _is_hex(oid, 40) else "",
        size is not None,
    )


def _levels(status: Mapping[str, Any] | None) -> dict[str, Level]:
    """What the hub's security status says of each file with an issue."""
    issues = status.get("filesWithIssues") if status is not None else None
    known: dict[str, Level] = {level: level for level in get_args(Level) if level not in {"", "safe"}}
    known["infected"] = "unsafe"
    return {
        path: known.get(_text(issue, "level"), "suspicious")
        for issue in (issues if isinstance(issues, list) else ())
        if (path := _text(issue, "path"))
    }


def _text(entry: object, key: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and all(letter in "0123456789abcdef" for letter in text)
