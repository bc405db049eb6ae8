"""Whether anything changed below the models folders since a moment ago, without reading any file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_DEPTH = 2  # <models>/<publisher>/<name>: what is put there or taken away changes one of these folders' times

Stamp = frozenset[tuple[str, int]]


def stamp(folders: Iterable[Path]) -> Stamp:
    """The folders of models and when each was last changed (nanoseconds). Blocks: one look at each folder.

    Another program's import, removal or download gives another stamp; writing into a file does not.
    """
    seen: set[tuple[str, int]] = set()
    for folder in folders:
        _look(str(folder), _DEPTH, seen)
    return frozenset(seen)


def _look(folder: str, depth: int, seen: set[tuple[str, int]]) -> None:
    try:
        seen.add((folder, os.stat(folder).st_mtime_ns))  # noqa: PTH116 - thousands of Path objects take their time
        if not depth:
            return
        with os.scandir(folder) as entries:
            below = [entry.path for entry in entries if entry.is_dir()]
    except OSError:
        return  # it is gone or cannot be read, which is a change by itself
    for path in below:
        _look(path, depth - 1, seen)
