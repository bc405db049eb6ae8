"""`slmdesk tour`: drive the real window through what the program can do."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.installation import window_libraries

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", default="tour", help="where screenshots and tour.json go")
    parser.add_argument(
        "--hub",
        metavar="URL",
        default="",
        help="a hub that holds Desk Guide, to search and download from (without one nothing is asked for)",
    )


def run(args: argparse.Namespace, out: Output) -> int:
    try:
        tour: Any = import_module("slmdesk.gui.tour")
    except ImportError as error:
        raise SlmDeskError(
            "window_unavailable",
            f"The window cannot be loaded: {error}.",
            window_libraries(),
        ) from error
    words = ["--out", args.out, *(["--hub", args.hub] if args.hub else [])]
    if out.as_json:
        words.append("--json")
    return int(tour.main(words))
