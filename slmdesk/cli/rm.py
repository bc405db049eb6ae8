"""`slmdesk rm`: remove a model, undo that, or hand what was removed to the system's trash."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.cli.main import UsageError
from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.library.trash import GRACE_S

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile
    from slmdesk.library.trash import Trash


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a model, or one of its files (MODEL:QUANT)"
    )
    parser.add_argument(
        "--yes", action="store_true", help="do not ask when a whole model of several files goes"
    )
    parser.add_argument(
        "--undo", metavar="KEY", nargs="?", const="", help="bring the last removal back, or this one"
    )
    parser.add_argument(
        "--empty", action="store_true", help="hand what was removed to the system's trash now"
    )
    parser.add_argument("--forever", action="store_true", help="with --empty: delete it instead")


def run(args: argparse.Namespace, out: Output) -> int:
    if sum((bool(args.model), args.undo is not None, args.empty)) != 1:
        raise UsageError("Name one model, or --undo, or --empty.", "slmdesk list shows the models.")
    return asyncio.run(_run(args, Application.look(), out))


async def _run(args: argparse.Namespace, application: Application, out: Output) -> int:
    trash = application.trash
    try:
        if args.undo is not None:
            return await _undo(trash, args.undo, out)
        if args.empty:
            return await _empty(trash, args.forever, out)
        if await application.created_models.named(args.model) is not None:
            return await _remove_created(trash, args.model, out)
        return await _remove(application.library, trash, args.model, args.yes, out)
    finally:
        await application.close()


async def _remove_created(trash: Trash, name: str, out: Output) -> int:
    removed = await trash.remove_created(name)
    out.text(f"Removed {removed.title}. The model that it was made of stays.")
    out.note(f"slmdesk rm --undo {removed.key} brings it back.")
    out.done(removed.to_json())
    return 0


async def _remove(library: Library, trash: Trash, ref: str, sure: bool, out: Output) -> int:
    files = await library.files(ref)
    if len(files) > 1 and not sure and not out.as_json and sys.stdin.isatty() and not _agreed(files, out):
        out.text("Nothing was removed.")
        return 0
    title = files[0].id if len(files) == 1 else files[0].id.partition(":")[0]
    removed = await trash.remove(files, title)
    if removed.forgotten == len(files):
        out.text(f"{title} is no longer in the library; its file stays with the program it belongs to.")
    else:
        out.text(f"Removed {title} ({amounts.size(removed.size_bytes)}).")
    out.note(
        f"slmdesk rm --undo {removed.key} brings it back. It goes to the system's trash when slmdesk rm is next"
        f" used after {GRACE_S / 60:.0f} minutes, or with slmdesk rm --empty."
    )
    # What earlier commands removed has had its time.
    try:
        await trash.hand_over()
    except SlmDeskError as error:
        out.problem(error)
    out.done(removed.to_json())
    return 0


async def _undo(trash: Trash, key: str, out: Output) -> int:
    if not key:
        there = await trash.removed()
        if not there:
            raise SlmDeskError(
                "undo_gone", "There is nothing to undo.", "Older removals are in the trash of your system."
            )
        key = there[0].key
    removed = await trash.undo(key)
    out.text(f"{removed.title} is back.")
    out.done(removed.to_json())
    return 0


async def _empty(trash: Trash, forever: bool, out: Output) -> int:
    gone = await trash.hand_over(older_s=0, forever=forever)
    total = sum(removed.size_bytes for removed in gone)
    where = "deleted" if forever else "handed to the system's trash"
    out.text(
        f"{len(gone)} removals, {amounts.size(total)}, {where}." if gone else "There is nothing to hand over."
    )
    out.done({"removed": [removed.to_json() for removed in gone], "size_bytes": total, "forever": forever})
    return 0


def _agreed(files: list[LibraryFile], out: Output) -> bool:
    for file in files:
        out.text(f"  {file.id}  {amounts.size(file.size_bytes)}")
    out.text(f"Remove these {len(files)} files? It can be undone. [y/N] ", end="")
    return sys.stdin.readline().strip().casefold() in {"y", "yes"}
