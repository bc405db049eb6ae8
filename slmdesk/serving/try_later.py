"""An error that time mends, and after how many seconds asking again makes sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.core.error_codes import ErrorCode


class TryLaterError(SlmDeskError):
    """Answered with `Retry-After: retry_after_s`."""

    def __init__(
        self, code: ErrorCode, message: str, hint: str = "", *, retry_after_s: int, details: str = ""
    ) -> None:
        super().__init__(code, message, hint, details=details)
        self.retry_after_s = max(1, retry_after_s)
