"""The report of a defect: what a person may copy and pass on. It holds no secret and no conversation."""

from __future__ import annotations

import platform
import sys
import traceback
from pathlib import Path

import PySide6
from PySide6.QtCore import qVersion

import slmdesk
from slmdesk.core.errors import SlmDeskError


def report_text(error: BaseException) -> str:
    """Versions, the error and where it came from, as plain text; the home folder is written as "~"."""
    lines = [
        f"SLM Desk {slmdesk.__version__}",
        f"{platform.platform()}, Python {platform.python_version()}",
        f"Qt {qVersion()}, PySide {PySide6.__version__}",
        "",
    ]
    if isinstance(error, SlmDeskError):
        lines.append(f"{error.code}: {error.message}")
        if error.hint:
            lines.append(error.hint)
        if error.details:
            lines += ["", error.details]
    if not isinstance(error, SlmDeskError) or error.__cause__ is not None:
        lines += ["", "".join(traceback.format_exception(error)).rstrip()]
    text = "\n".join(lines)
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def log_uncaught(error: BaseException, where: str) -> None:
    """Write an unexpected exception to the log, and to stderr when there is one."""
    import logging

    logging.getLogger("slmdesk.gui").error("Unexpected error in %s", where, exc_info=error)
    if sys.stderr is not None:
        traceback.print_exception(error, file=sys.stderr)
