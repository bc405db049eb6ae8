"""`slmdesk doctor`: what works on this machine and what does not, to read and to paste into a bug report."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.cli import checks, safe_steps

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.engine_checks import Check
    from slmdesk.cli.output import Output
    from slmdesk.engines.self_test_outcome import Outcome

_MARKS = {"ok": "✓", "note": "·", "warning": "!", "failed": "✗"}
_NAME_WIDTH = 18


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-model", action="store_true", help="skip the check that loads the built-in model"
    )
    parser.add_argument(
        "--forget-steps",
        action="store_true",
        help="forget what engines leave out since native code failed here, and check nothing",
    )
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="also compute with each kind of weights and compare the numbers; takes some seconds",
    )


def run(args: argparse.Namespace, out: Output) -> int:
    if args.forget_steps:
        return safe_steps.forget(Application.build().safe_steps, out)
    found, outcome = asyncio.run(_examine(out, with_model=not args.no_model, self_test=args.self_test))
    failed = [check for check in found if check.state == "failed"]
    out.text()
    if failed:
        out.text(
            out.bad(f"{len(failed)} of {len(found)} checks failed: {', '.join(c.name for c in failed)}.")
        )
    elif limits := sum(check.state == "warning" for check in found):
        out.text(out.good(f"Everything works; what is marked with ! is limited ({limits})."))
    else:
        out.text(out.good("Everything that was checked works."))
    tested = outcome.to_json() if outcome is not None else None
    out.done({"ok": not failed, "checks": [check.to_json() for check in found], "self_test": tested})
    return 1 if failed else 0


async def _examine(out: Output, *, with_model: bool, self_test: bool) -> tuple[list[Check], Outcome | None]:
    application = Application.build()
    found: list[Check] = []
    group = ""
    try:
        async for check in checks.examine(application, with_model=with_model, self_test=self_test):
            out.clear_status()
            if check.group != group:
                group = check.group
                out.text(("\n" if found else "") + out.bold(group))
            _show(check, out)
            out.event("check", check=check.to_json())
            out.status("Checking …")
            found.append(check)
        return found, await application.self_test.latest()
    finally:
        out.clear_status()
        await application.close()


def _show(check: Check, out: Output) -> None:
    paint = {"ok": out.good, "note": out.dim, "warning": out.wary, "failed": out.bad}[check.state]
    out.text(f"  {paint(_MARKS[check.state])} {check.name.ljust(_NAME_WIDTH)} {check.text}".rstrip())
    if check.hint and check.state != "ok":
        out.text(f"    {' ' * _NAME_WIDTH} {out.dim(check.hint)}")
