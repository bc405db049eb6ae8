"""`slmdesk login`: keep a hub's access token, or the login of the proxy, in the system's keyring."""

from __future__ import annotations

import asyncio
import getpass
import sys
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.cli.main import UsageError
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--proxy",
        metavar="USER",
        help="keep USER's password for the proxy of the settings instead of a token",
    )
    what.add_argument("--forget", choices=("token", "proxy"), help="take it out of the keyring again")


def run(args: argparse.Namespace, out: Output) -> int:
    return asyncio.run(_login(args, out))


async def _login(args: argparse.Namespace, out: Output) -> int:
    application = Application.look()
    try:
        if args.forget:
            await _forget(application, args.forget, out)
        elif args.proxy is not None:
            await _proxy(application, args.proxy, out)
        else:
            await _token(application, out)
    finally:
        await application.close()
    return 0


async def _token(application: Application, out: Output) -> None:
    token = _asked(f"Access token of {application.hub.endpoint}: ")
    if not token:
        raise UsageError("No token was given.", "slmdesk login asks for it, or reads a line from its input.")
    kept = await application.logins.keep_token(token)
    _require_lasting(kept.problem)
    out.text(f"{application.hub.endpoint} knows you as {kept.name}.")
    if kept.overruled:
        out.note("The variable HF_TOKEN goes before it as long as it is set.")
    out.done({"name": kept.name, "overruled": kept.overruled})


async def _proxy(application: Application, user: str, out: Output) -> None:
    proxy = str(application.settings.get("network.proxy"))
    if not proxy or not user:
        raise UsageError(
            "The settings name no proxy." if user else "No user was given.",
            "slmdesk config network.proxy http://HOST:PORT, then slmdesk login --proxy USER",
        )
    password = _asked(f"Password of {user} at {proxy}: ")
    _require_lasting(await application.logins.keep_proxy_login(user, password))
    out.text(f"{user}'s login for {proxy} is kept in the keyring.")
    out.done({"proxy": proxy, "user": user})


async def _forget(application: Application, what: str, out: Output) -> None:
    if what == "token":
        problem = await application.logins.forget_token()
    else:
        problem = await application.logins.forget_proxy_login()
    if problem is not None and problem.code != "keyring_missing":
        raise problem
    out.text("The token is forgotten." if what == "token" else "The proxy's login is forgotten.")
    out.done({"forgotten": what})


def _asked(prompt: str) -> str:
    """Without an echo from a terminal; a line from whatever else gives the input."""
    line = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    return line.strip()


def _require_lasting(problem: SlmDeskError | None) -> None:
    """What counts for this session alone is gone when this command ends."""
    if problem is not None:
        raise SlmDeskError(
            problem.code,
            f"{problem.message} Nothing was kept.",
            "Unlock or install a keyring and try again; on machines without one, HF_TOKEN holds a hub's token.",
            details=problem.details,
        )
