"""`slmdesk tools`: the tools that models may call, and the servers they come from."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.cli.main import UsageError
from slmdesk.core.errors import SlmDeskError
from slmdesk.tools.builtin.source import ALWAYS_THERE
from slmdesk.tools.server import NewServer, read_pasted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.cli.output import Output
    from slmdesk.tools.toolbox import Tools

_ADD = (
    "slmdesk tools add NAME [--env NAME=VALUE]… --run COMMAND [ARGUMENT]… | slmdesk tools add NAME --url ADDRESS "
    "[--header NAME:VALUE]… | slmdesk tools add < FILE.json"
)
_STATES = {"idle": "not started", "starting": "starting", "running": "running", "failed": "failed"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = ("list", "add", "rm", "on", "off", "check", "ask")
    parser.add_argument(
        "action", nargs="?", choices=actions, default="list", metavar="ACTION", help=", ".join(actions)
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a server; with “ask”: server/tool")
    parser.add_argument(
        "--run",
        nargs=argparse.REMAINDER,
        default=[],
        dest="command",
        metavar="COMMAND",
        help="what starts the server, with its arguments; stands last",
    )
    parser.add_argument("--url", metavar="ADDRESS", help="of a server that is reached by HTTP")
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="kept in the keyring; value from stdin if left out",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="kept in the keyring; value from stdin if left out",
    )
    parser.add_argument("--folder", default="", metavar="FOLDER", help="where the server is started")
    parser.add_argument("--replace", action="store_true", help="in place of one that has the name")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.action != "add" and (
        args.command or args.url or args.env or args.header or args.folder or args.replace
    ):
        raise UsageError("These options go with “add”.", _ADD)
    if (args.name is None) and args.action not in {"list", "add"}:
        raise UsageError("Name a server.", f"slmdesk tools {args.action} NAME")
    return asyncio.run(_run(args, out))


async def _run(args: argparse.Namespace, out: Output) -> int:
    application = Application.look()
    try:
        tools = application.tools
        match args.action:
            case "add":
                await _add(application, args, out)
            case "rm":
                gone = (await tools.remove(args.name)).server
                out.text(f"The server “{gone.name}” and what the keyring had for it are gone.")
                out.done({"removed": gone.name})
            case "on" | "off":
                server = await tools.enable(args.name, args.action == "on")
                out.text(f"The server “{server.name}” is {args.action}.")
                out.done({"name": server.name, "enabled": server.enabled})
            case "check":
                await _check(tools, args.name, out)
            case "ask":
                await tools.allow(args.name, always=False)
                out.text(f"“{args.name}” is asked for again before it is called.")
                out.done({"asked": args.name})
            case _:
                await _list(tools, out)
    finally:
        await application.close()
    return 0


async def _list(tools: Tools, out: Output) -> None:
    servers, always = await tools.servers(), await tools.always()
    out.table(
        ("TOOLS", "FROM", "STATE"),
        [
            *((tool.name, "built in", "") for tool in ALWAYS_THERE),
            *(
                (entry.server.name, entry.server.where[:60], "on" if entry.server.enabled else "off")
                for entry in servers
            ),
        ],
    )
    for entry in servers:
        for note in entry.server.notes:
            out.note(f"{entry.server.name}: {note}")
    if always:
        out.text()
        out.text(f"Called without asking: {', '.join(always)}. “slmdesk tools ask NAME” takes that back.")
    if not servers:
        out.note(f"There is no server yet. {_ADD.partition(' | ')[0]}")
    out.done(
        {
            "tools": [tool.to_json() for tool in ALWAYS_THERE],
            "servers": [entry.to_json() for entry in servers],
            "always": list(always),
        }
    )


async def _check(tools: Tools, name: str, out: Output) -> None:
    out.status(f"Starting {name} …")
    try:
        entry = await tools.check(name)
    except SlmDeskError:
        for line in await _tail(tools, name):
            out.note(line)
        raise
    health = entry.health
    out.text(
        f"“{entry.server.name}” works: {' '.join(filter(None, (health.title, health.version)))}".rstrip()
    )
    for tool in health.tools:
        out.text(f"  {tool.name}  {out.dim(_first_line(tool.description))}".rstrip())
    if not health.tools:
        out.text("  It offers no tools.")
    for note in (*health.left_out, *entry.server.notes):
        out.note(note)
    out.done(entry.to_json())


async def _tail(tools: Tools, name: str) -> Sequence[str]:
    try:
        return await tools.log(name)
    except SlmDeskError:
        return ()


async def _add(application: Application, args: argparse.Namespace, out: Output) -> None:
    added = await application.tools.add(_new(args), replace=args.replace)
    for server in added:
        out.text(f"The server “{server.name}” is added: {server.where}")
        for note in server.notes:
            out.note(note)
    if problem := await asyncio.to_thread(lambda: application.secrets.known_problem):
        out.problem(problem)
    out.note("“slmdesk tools check NAME” starts it and shows its tools.")
    out.done({"servers": [server.to_json() for server in added]})


def _new(args: argparse.Namespace) -> list[NewServer]:
    if args.name is None:
        if sys.stdin.isatty():
            raise UsageError("Name the server, or give the usual JSON on stdin.", _ADD)
        return read_pasted(sys.stdin.buffer.read(4 * 1024 * 1024).decode("utf-8-sig", "replace"))
    if bool(args.url) == bool(args.command):
        raise UsageError("Give either an address (--url) or a command (--run).", _ADD)
    if args.url:
        return [NewServer.reached(args.name, args.url, _values(args.header, ":", "--header NAME:VALUE"))]
    env = _values(args.env, "=", "--env NAME=VALUE")
    return [NewServer.started(args.name, args.command[0], tuple(args.command[1:]), env, args.folder)]


def _values(given: Sequence[str], mark: str, usage: str) -> dict[str, str]:
    """Names and values; a value that is not given is read from stdin, so that no other program sees it."""
    found: dict[str, str] = {}
    for text in given:
        name, told, value = text.partition(mark)
        if not name.strip():
            raise UsageError(f"{text!r} has no name.", usage)
        if not told:
            value = _secret(name.strip())
        found[name.strip()] = value.strip()
    return found


def _secret(name: str) -> str:
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"{name}: ")
    return sys.stdin.readline().rstrip("\r\n")


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:100]
