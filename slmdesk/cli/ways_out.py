"""What a hint means at the command line. The rooms below speak to everybody; the window has buttons in these places."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.core.error_codes import ErrorCode

_COMMANDS: dict[ErrorCode, str] = {
    "offline": "slmdesk config network.offline false",
    "trash_unavailable": "slmdesk rm --empty --forever",
    "service_start_failed": "slmdesk doctor",
    "port_in_use": "slmdesk serve --port NUMBER",
    "imatrix_missing": "--imatrix auto",
    "imatrix_unreadable": "--imatrix auto",
    "imatrix_needed": "--imatrix auto",
    "imatrix_mismatch": "--imatrix auto",
}


def command_for(code: ErrorCode) -> str:
    """The command or option that mends an error with this code; "" where there is none."""
    return _COMMANDS.get(code, "")
