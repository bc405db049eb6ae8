"""`slmdesk stop`: end the window, the jobs' process and the service, so that the program can be updated or removed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import process_alive

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from slmdesk.cli.output import Output

_WINDOW_S = 20.0  # running answers are kept first
_LOOK_AGAIN_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-window", action="store_true", help="end what works in the background, not the window"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    ended = asyncio.run(_stop(window=not args.keep_window))
    if not ended:
        out.text("Nothing of SLM Desk was running.")
    else:
        out.text(f"Ended: {', '.join(ended)}.")
    out.done({"ended": ended})
    return 0


async def _stop(*, window: bool) -> list[str]:
    """What was ended. Raises `SlmDeskError("still_running")`."""
    application = Application.build()
    ended = []
    try:
        # The window first: it would start the others again.
        if window and await asyncio.to_thread(_close_window, application.paths.runtime / "window.lock"):
            ended.append("the window")
        if application.paths.database.exists() and await application.jobs.store.runner() is not None:
            if not await application.jobs.end_runner():
                raise _still_running("The process that runs the jobs")
            ended.append("the jobs")
        client = await application.connector.attached()
        if client is not None:
            pid = int((await client.health())["pid"])
            await client.shutdown()
            if not await asyncio.to_thread(_ended, pid):
                raise _still_running("The service")
            ended.append("the service")
    finally:
        await application.close()
    return ended


def _close_window(lock: Path) -> bool:
    """Ask the window to close, as its close button does, and wait for that; whether there was one."""
    pid = _owner(lock)
    if pid == 0:
        return False
    if sys.platform == "win32":
        _post_close(pid)
    else:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    if not _ended(pid):
        raise _still_running("The window")
    return True


def _owner(lock: Path) -> int:
    """The process that holds Qt's lock file, which begins with its id; 0 where nobody does."""
    try:
        pid = int(lock.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0])
    except (OSError, ValueError):
        return 0
    return pid if pid != os.getpid() and process_alive(pid) and _is_ours(pid) else 0


def _is_ours(pid: int) -> bool:
    """Not a later process with the number of a window that died."""
    import psutil

    try:
        return any(
            "slmdesk" in word.lower() or "slm desk" in word.lower() for word in psutil.Process(pid).cmdline()
        )
    except psutil.Error:
        return False


def _ended(pid: int) -> bool:
    deadline = time.monotonic() + _WINDOW_S
    while process_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True


def _post_close(pid: int) -> None:
    """Send WM_CLOSE to every top-level window of the process (Windows)."""
    if sys.platform == "win32":
        import ctypes
        from ctypes import wintypes

        wm_close = 0x0010
        user32 = ctypes.WinDLL("user32")
        callback = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.HWND, wintypes.LPARAM)

        def visit(window: int, _parameter: int) -> bool:
            owner = wintypes.DWORD()
            user32.GetWindowThreadProcessId(window, ctypes.byref(owner))
            if owner.value == pid and user32.IsWindowVisible(window):
                user32.PostMessageW(window, wm_close, 0, 0)
            return True

        user32.EnumWindows(callback(visit), 0)


def _still_running(what: str) -> SlmDeskError:
    return SlmDeskError("still_running", f"{what} did not end in time.", "Close it by hand, then try again.")
