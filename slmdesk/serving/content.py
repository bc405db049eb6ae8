"""Whether a loaded model's file is still the one that was loaded: weights are mapped and change with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.library.library import LibraryFile

Seen = tuple[tuple[int, int, int] | None, ...]  # size, time and inode of each part


def seen(file: LibraryFile) -> Seen:
    """What the file is at this moment; None for a part that is not there. One look at the disk a part."""
    return tuple(map(_seen, file.parts or (file.path,)))


def changed(model_id: str) -> SlmDeskError:
    """Why an answer could not go on."""
    return SlmDeskError(
        "model_changed",
        f"The file of {model_id} was changed while it was loaded, and its engine ended over it.",
        "Ask again: the file is looked at and loaded anew.",
    )


def _seen(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    # Not every file system of Windows keeps to one number.
    return status.st_size, status.st_mtime_ns, 0 if os.name == "nt" else status.st_ino
