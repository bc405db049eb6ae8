"""The one error a person is meant to see, and the codes it may carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.core.error_codes import ErrorCode, known_code

if TYPE_CHECKING:
    from collections.abc import Mapping


class SlmDeskError(Exception):
    """An expected failure: what happened (`message`) and what to do next (`hint`).

    The type decides what a person sees: front ends print a `SlmDeskError` as it stands, and treat every
    other exception as a defect of the program that deserves a report.

    `code` is stable, and programs branch on it; `core/error_codes.py` has them all. `details` is technical text to
    fold away (a log tail, an exit status). It never holds a secret.
    """

    def __init__(self, code: ErrorCode, message: str, hint: str = "", *, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_json(self) -> dict[str, str]:
        """The error as plain data; `details` only when there are any."""
        data = {"code": self.code, "message": self.message, "hint": self.hint}
        if self.details:
            data["details"] = self.details
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SlmDeskError:
        """The reverse of `to_json`; missing fields become a plain "unknown" error.

        So does a code that this version does not know: it is then told in `details`.
        """
        code, details = str(data.get("code", "unknown")), str(data.get("details", ""))
        return cls(
            known_code(code),
            str(data.get("message", "An error without a message was reported.")),
            str(data.get("hint", "")),
            details=details if known_code(code) == code else f"{details}\ncode: {code}".strip(),
        )
