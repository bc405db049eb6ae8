"""Ollama's API about models: what its bodies say, and how answers that take a while are written."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from slmdesk.serving.api_errors import error_body
from slmdesk.serving.dialects.bodies import Body, Number
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.serving.pulls import PullStep

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


class NamedBody(Body):
    """A request that names a model; older clients call it `name`."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None
    stream: bool | None = None
    insecure: bool | None = None


class CopyBody(Body):
    """`POST /api/copy`."""

    source: str | None = None
    destination: str | None = None


def read_keep_alive(value: str | Number | None) -> float | None:
    """Seconds that a model stays loaded without use; infinity below 0, None where nothing is said.

    A number is seconds, a text a duration as Go writes it ("5m", "1h30m", "-1s") or seconds too. Raises `RequestError`.
    """
    if value is None:
        return None
    if isinstance(value, str):
        seconds = _duration(value.strip())
        if seconds is None:
            refuse(
                "keep_alive",
                f"“keep_alive” is {value[:40]!r}; it must be seconds, or a duration such as 5m or 1h30m.",
            )
    else:
        seconds = float(value)
    if math.isnan(seconds):
        refuse("keep_alive", "“keep_alive” must be a number of seconds.")
    return math.inf if seconds < 0 else seconds


def _duration(text: str) -> float | None:
    sign, text = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        return sign * float(text) if re.fullmatch(r"[\d.]+", text) else None
    except ValueError:
        return None


def write_step(step: PullStep) -> bytes:
    """One line of a pull."""
    line: dict[str, Any] = {"status": step.status}
    if step.digest:
        line |= {"digest": step.digest, "total": step.total, "completed": step.completed}
    return write_line(line)


def write_error(error: SlmDeskError) -> bytes:
    """The last line where something failed."""
    return json.dumps(error_body(error, "ollama"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def write_line(data: dict[str, Any]) -> bytes:
    """One line of a stream."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
