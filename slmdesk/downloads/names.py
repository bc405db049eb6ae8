"""Names of files on a hub as names on this disk: never outside the model's folder, and valid on every system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.library.names import split_part

if TYPE_CHECKING:
    from collections.abc import Iterable

_REPO_PART = re.compile(r"^(?![.-])[\w.-]{1,96}(?<![.-])$", re.ASCII)
_DRIVE = re.compile(r"^[A-Za-z]:")
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)", re.IGNORECASE)
_LONGEST = 180  # bytes of one name; file systems take 255 bytes, and a suffix is added now and then
_KEPT_TAIL = 48
_DEEPEST = 12
# Ours, beside the model's files.
_TAKEN = {"slmdesk.json", "slmdesk.json.damaged", ".slmdesk.json.lock", ".slmdesk-partial"}


def repo_folder(repo: str) -> tuple[str, str]:
    """Publisher and name of a repository as two folders. Raises `SlmDeskError("name_invalid")`."""
    parts = repo.split("/")
    if len(parts) != 2 or not all(_REPO_PART.match(part) and ".." not in part for part in parts):
        raise SlmDeskError(
            "name_invalid", f"{repo!r} is no name of a model on a hub.", "A model is named publisher/name."
        )
    publisher, name = (_mended(part) for part in parts)
    return publisher, name


def local_paths(paths: Iterable[str]) -> dict[str, str]:
    """For each path on the hub one below the model's folder, with `/`; no two the same on any system.

    What a system may refuse is mended (reserved names, characters, endings, names that are too long); what
    would lead out of the folder is refused: `SlmDeskError("name_unsafe")`.
    """
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    folders: dict[str, str] = {}
    for path in paths:
        parts = _parts(path)
        # A folder that is there under another case of its name is the same folder on half of all systems.
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            kept = folders.setdefault(_folded(folder), folder)
            parts[:depth] = kept.split("/")
        local = "/".join(parts)
        if _folded(local) in taken or _folded(local) in folders or _folded(parts[0]) in _TAKEN:
            parts[-1] = _marked(parts[-1], path)
            if len(parts) > 1 and _folded(parts[0]) in _TAKEN:
                parts[0] = _marked(parts[0], path)
            local = "/".join(parts)
        taken.add(_folded(local))
        chosen[path] = local
    return chosen


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    back = path.replace("\\", "/").split("/")
    if (
        not path
        or len(parts) > _DEEPEST
        or any(part in {"", ".", ".."} for part in parts)
        or any(part.strip(" .") == "" for part in back)
        or _DRIVE.match(path)
    ):
        raise SlmDeskError(
            "name_unsafe",
            f"The hub names a file {path[:120]!r}, which would lie outside the model's folder.",
            "Do not use this model; its publisher may mean harm.",
        )
    return [_mended(part) for part in parts]


def _mended(part: str) -> str:
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", part)).rstrip(" .")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        name = name.encode("utf-8", "replace").decode("utf-8")
    if _RESERVED.match(name):
        name = f"_{name}"
    return _shortened(name)


def _shortened(name: str) -> str:
    if len(name.encode("utf-8")) <= _LONGEST:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 12:
        stem, dot, suffix = name, "", ""
    split = split_part(stem)
    ending = f"-{split[1]:05}-of-{split[2]:05}" if split else ""
    body = split[0] if split else stem
    # All parts of a split file keep one name in common: the mark is taken from what they share.
    mark = f"~{hashlib.sha256(body.encode('utf-8')).hexdigest()[:8]}~"
    room = _LONGEST - len((mark + ending + dot + suffix).encode("utf-8"))
    tail = _cut(body[-_KEPT_TAIL:], room // 2, end=True)
    head = _cut(body, room - len(tail.encode("utf-8")), end=False)
    return f"{head}{mark}{tail}{ending}{dot}{suffix}"


def _cut(text: str, limit: int, *, end: bool) -> str:
    """At most `limit` bytes of the text's beginning or end, in whole characters."""
    data = text.encode("utf-8")
    if len(data) <= limit:
        return text
    return (data[-limit:] if end else data[:limit]).decode("utf-8", "ignore")


def _marked(name: str, path: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    mark = f"~{hashlib.sha256(path.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return f"{stem}{mark}{dot}{suffix}" if dot and stem else f"{name}{mark}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
