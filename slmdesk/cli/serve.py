"""`slmdesk serve`: the service for other programs, in the foreground."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.cli.output import Output

_KEY_VARIABLE = "SLMDESK_API_KEY"
OLLAMA_PORT = 11434


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
        "--ollama-port",
        type=_port,
        metavar="N",
        nargs="?",
        const=OLLAMA_PORT,
        help=f"answer at Ollama's port too, {OLLAMA_PORT} or N; 0 takes any free port",
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"a key that every program needs then; better in the variable {_KEY_VARIABLE}, as other users see "
        "arguments. “slmdesk keys add NAME” makes keys that last",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name of this machine that programs without a key may use, as in models.example or "
        "'*.home.arpa'; may be given again",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web page that may ask from a browser, as in https://notes.example or 'https://*.example.org'; "
        "* lets every page in that has a key; may be given again",
    )
    parser.add_argument(
        "--tls-cert", default="", metavar="FILE", help="answer by HTTPS with this certificate (PEM)"
    )
    parser.add_argument("--tls-key", default="", metavar="FILE", help="the certificate's private key (PEM)")
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
            ollama_port=args.ollama_port,
            allow_hosts=tuple(args.allow_host),
            allow_origins=tuple(args.allow_origin),
            api_key=_key(args.api_key),
            tls_cert=args.tls_cert,
            tls_key=args.tls_key,
            as_json=out.as_json,
            on_demand=args.on_demand,
            idle_s=args.idle_s,
        ),
        Application.look(),
    )


def _key(given: str | None) -> str:
    """The key of the command line, else of the environment, which the engines do not inherit."""
    from slmdesk.serving.keys import check_given

    inherited = os.environ.pop(_KEY_VARIABLE, "")
    key = inherited if given is None else given
    return check_given(key) if key or given is not None else ""


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; it is a number from 0 to 65535.")
    return int(text)
