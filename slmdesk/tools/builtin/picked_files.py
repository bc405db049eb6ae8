"""Reading the files that a person picked for a conversation, and no others."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_FILES = 32  # of one conversation
_LARGEST = 64 * 1024 * 1024  # bytes of a file that is looked into
_MOST_LINES = 400  # given at once
_LONGEST_LINE = 2000  # characters

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def picked(paths: Sequence[str | Path]) -> tuple[str, ...]:
    """The files as they are kept: absolute paths, each once. Raises `file_missing`, `file_unreadable`."""
    found: dict[str, None] = {}
    for path in paths:
        file = Path(path).expanduser().absolute()
        if not file.is_file():
            raise SlmDeskError(
                "file_missing", f"{file} is no file that is there.", "Pick one that is, with its path."
            )
        found[str(file)] = None
    if len(found) > MOST_FILES:
        raise SlmDeskError(
            "file_unreadable",
            f"More than {MOST_FILES} files were picked.",
            "Take some away: a small model loses itself in more.",
        )
    return tuple(found)


def names(paths: Sequence[str]) -> dict[str, str]:
    """The files by the names a model calls them: the file's own, and where two have one, with its folder's."""
    plain = [Path(path).name for path in paths]
    told: dict[str, str] = {}
    for path, name in zip(paths, plain, strict=True):
        parts = Path(path).parts
        length = 1 if plain.count(name) == 1 else 2
        while (called := "/".join(parts[-length:])) in told and length < len(parts):
            length += 1
        told[called] = path
    return told


def read_picked(paths: Sequence[str], name: str, first_line: int = 1) -> str:
    """Lines of one of the files, at most 400 at once from `first_line` (1 is the first) on, and how many there are.

    `name`: as `names` tells it, or the file's path. Blocks. Raises `tool_file_unknown` for any other, `file_missing`,
    `file_unreadable` (no text, too large).
    """
    told = names(paths)
    path = told.get(name) or next((path for path in paths if path == name), None)
    if path is None:
        raise SlmDeskError(
            "tool_file_unknown",
            f"“{name[:200]}” is not among the files the person picked.",
            f"Those are: {', '.join(told) or 'none'}.",
        )
    lines = _text(Path(path)).splitlines()
    start = max(first_line, 1)
    if lines and start > len(lines):
        return f"{name} has {len(lines)} lines; there is none from line {start} on."
    shown = [line[:_LONGEST_LINE] for line in lines[start - 1 : start - 1 + _MOST_LINES]]
    last = start - 1 + len(shown)
    head = f"{name}, lines {start} to {last} of {len(lines)}" if lines else f"{name} is empty"
    more = f"\n(More from line {last + 1} on.)" if last < len(lines) else ""
    return f"{head}:\n" + "\n".join(shown) + more if lines else f"{head}."


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise SlmDeskError(
                "file_unreadable",
                f"{path.name} is larger than {_LARGEST // 1024 // 1024} MB.",
                "Pick a part of it.",
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SlmDeskError(
            "file_missing", f"{path.name} is not there any more.", "Ask the person."
        ) from error
    except OSError as error:
        raise SlmDeskError(
            "file_unreadable", f"{path.name} cannot be read: {error.strerror or error}.", "Ask the person."
        ) from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\x00" in data[:65536]:
        raise SlmDeskError("file_unreadable", f"{path.name} holds no text.", "Only text files can be read.")
    return data.decode(encoding, "replace")
