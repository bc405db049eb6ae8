"""A folder that is to hold models from now on: whether it can, and how much room its disk has."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.space import existing_parent

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Room:
    """What the disk of `folder` has, in bytes."""

    folder: Path
    free: int
    total: int


def room_in(folder: Path) -> Room:
    """The room on the disk where `folder` lies, or will lie. Blocking. Raises `SlmDeskError("drive_missing")`."""
    try:
        usage = shutil.disk_usage(existing_parent(folder))
    except OSError as error:
        raise SlmDeskError(
            "drive_missing",
            f"The disk of {folder} does not answer: {error.strerror or error}.",
            "Choose another folder, or connect the disk.",
        ) from error
    return Room(folder, usage.free, usage.total)


def try_folder(folder: Path) -> Room:
    """The room in `folder`, after a file was written there and removed again. Blocking.

    Raises `SlmDeskError`: `folder_unwritable` when nothing can be written there, `folder_invalid` when the list of
    folders could not hold its name, or `drive_missing`.
    """
    if os.pathsep in str(folder):
        raise SlmDeskError(
            "folder_invalid",
            f"The name of {folder} holds “{os.pathsep}”, which separates folders in the settings.",
            "Choose a folder without it in its name.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Access bits do not tell: shares, read-only disks and other systems' rights show only when one writes.
        with tempfile.TemporaryFile(dir=folder, prefix=".slmdesk-") as file:
            file.write(b"slmdesk")
    except OSError as error:
        raise SlmDeskError(
            "folder_unwritable",
            f"Nothing can be written to {folder}: {error.strerror or error}.",
            "Choose a folder of your own, or ask who keeps this machine for the right to write there.",
        ) from error
    return room_in(folder)
