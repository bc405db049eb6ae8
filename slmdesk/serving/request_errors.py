"""What is wrong with a request, by the field that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.core.error_codes import ErrorCode


class RequestError(SlmDeskError):
    """A request that is wrong in itself; `param` names the field, where it is one."""

    def __init__(self, code: ErrorCode, message: str, hint: str = "", *, param: str | None = None) -> None:
        super().__init__(code, message, hint)
        self.param = param


def refuse(name: str, message: str, hint: str = "", *, code: ErrorCode = "invalid_value") -> NoReturn:
    """Raise the error of a field."""
    raise RequestError(code, message, hint, param=name)
