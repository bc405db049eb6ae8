"""`slmdesk serve`: the service for other programs, in the foreground."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="load this model at once; may be given again",
    )
    parser.add_argument("--host", metavar="ADDRESS", help="where to answer (default: this machine only)")
    parser.add_argument("--port", type=_port, metavar="N", help="default: 8765; 0 takes any free port")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web page that may ask from a browser; may be given again",
    )
    # How the window and the other commands start a service for themselves.
    parser.add_argument("--on-demand", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--idle-s", type=float, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, out: Output) -> int:
    from slmdesk.application import Application
    from slmdesk.serving.main import ServeOptions, serve_main

    return serve_main(
        ServeOptions(
            models=tuple(args.model),
            host=args.host,
            port=args.port,
            allow_origins=tuple(args.allow_origin),
            as_json=out.as_json,
            on_demand=args.on_demand,
            idle_s=args.idle_s,
        ),
        Application.look(),
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; it is a number from 0 to 65535.")
    return int(text)
