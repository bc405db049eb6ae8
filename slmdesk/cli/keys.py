"""`slmdesk keys`: the API keys of the service. A key is shown when it is made and never again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.cli.main import UsageError

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.serving.keys import ApiKeys

_USAGE = "slmdesk keys [add NAME | revoke NAME]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "add", "revoke"), default="list")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the program or person that uses the key")


def run(args: argparse.Namespace, out: Output) -> int:
    if (args.name is None) != (args.action == "list"):
        raise UsageError("Name the key." if args.name is None else "A list takes no name.", _USAGE)
    keys = Application.look().api_keys
    match args.action:
        case "add":
            asyncio.run(_add(keys, args.name, out))
        case "revoke":
            asyncio.run(_revoke(keys, args.name, out))
        case _:
            asyncio.run(_list(keys, out))
    return 0


async def _add(keys: ApiKeys, name: str, out: Output) -> None:
    made = await keys.add(name)
    out.text(made.secret)
    out.note(
        f"This is the key “{made.name}”. It is not shown again: only its hash is kept. Programs send it as "
        "“Authorization: Bearer KEY” or “x-api-key: KEY”, usually from a field called API key."
    )
    out.done({"name": made.name, "created": made.created, "key": made.secret})


async def _revoke(keys: ApiKeys, name: str, out: Output) -> None:
    gone = await keys.revoke(name)
    out.text(f"The key “{gone.name}” opens nothing any more.")
    out.done({"revoked": gone.name})


async def _list(keys: ApiKeys, out: Output) -> None:
    there = await keys.all()
    if there:
        rows = [(key.name, time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created))) for key in there]
        out.table(("NAME", "MADE"), rows)
    else:
        out.text("There is no key yet. “slmdesk keys add NAME” makes one.")
    out.done({"keys": [key.to_json() for key in there]})
