"""Where quants are written, and how they get their final names: never over something that is there."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# Hidden folders, which the library passes over; the rest of the name is the job's id.
PARTIAL_PREFIX = ".slmdesk-quantize-"


def refuse_existing(paths: Iterable[Path]) -> None:
    """Raises `SlmDeskError("output_exists")` for files that are there already."""
    there = [path for path in paths if path.exists()]
    if there:
        names = ", ".join(path.name for path in there[:4]) + (", …" if len(there) > 4 else "")
        raise SlmDeskError(
            "output_exists",
            f"{names} {'is' if len(there) == 1 else 'are'} there already, in {there[0].parent}.",
            "Remove what you no longer want, or choose another folder or another naming pattern.",
        )


def move_into_place(sources: Sequence[Path], targets: Sequence[Path]) -> None:
    """Give checked files their final names; a second call after a crash in the middle ends what the first began.

    Of a split file the first part comes last: without it nobody takes the others for a model. Raises
    `SlmDeskError`: `output_exists`, `file_unwritable`.
    """
    for source, target in reversed(list(zip(sources, targets, strict=True))):
        try:
            if source.exists():
                _move(source, target)
            elif not target.exists():
                raise SlmDeskError(
                    "quant_lost", f"{target.name} was made, but is gone.", "Start the job again."
                )
        except OSError as error:
            raise writing_error(target, error) from error


def _move(source: Path, target: Path) -> None:
    if os.name == "nt":
        try:
            source.rename(target)  # refuses to replace a file there
        except FileExistsError:
            refuse_existing([target])
        return
    try:
        os.link(source, target)  # refuses to replace, too, and leaves no moment with half a file
    except FileExistsError:
        if not target.samefile(source):
            refuse_existing([target])
    except OSError:  # a file system without hard links
        refuse_existing([target])
        source.rename(target)
        return
    source.unlink()


def clear_partial(folder: Path) -> None:
    """Remove a partial folder with what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path, kept: Path, open_jobs: set[str]) -> None:
    """Remove what jobs left that ended without being able to: partial folders, and what they kept to go on."""
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            if (
                entry.name.startswith(PARTIAL_PREFIX)
                and entry.name.removeprefix(PARTIAL_PREFIX) not in open_jobs
            ):
                clear_partial(entry)
    with suppress(OSError):
        for entry in list(kept.iterdir()):
            if entry.name not in open_jobs:
                clear_partial(entry)
