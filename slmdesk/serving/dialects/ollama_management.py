"""Ollama's API about models: what its bodies say, and how answers that take a while are written."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from slmdesk.library.modelfile import ROLES
from slmdesk.serving.api_errors import error_body
from slmdesk.serving.creating import Creation
from slmdesk.serving.dialects.bodies import Body, Number, read_body
from slmdesk.serving.dialects.openai_requests import read_model
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.asks import Role
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


class CreateMessage(Body):
    """One entry of `messages`."""

    role: str
    content: str | None = None


class CreateBody(Body):
    """`POST /api/create`, by its fields or with the text of a Modelfile."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None
    modelfile: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    parameters: dict[str, Any] | None = None
    system: str | None = None
    template: str | None = None
    messages: list[CreateMessage] | None = None
    license: str | list[str] | None = None
    quantize: str | None = None


class CopyBody(Body):
    """`POST /api/copy`."""

    source: str | None = None
    destination: str | None = None


def read_create(data: bytes) -> tuple[Creation, bool]:
    """What is to be made, and whether its steps are told as they come.

    Raises `RequestError`, and `modelfile_invalid` with the line of the Modelfile.
    """
    body = read_body(data, CreateBody)
    licence = "\n".join(body.license) if isinstance(body.license, list) else body.license
    made = Creation(
        name=read_model(body.model or body.name),
        base=body.from_ or "",
        files=body.files or {},
        adapters=body.adapters or {},
        parameters=tuple((name, value, 0) for name, value in (body.parameters or {}).items()),
        system=body.system,
        template=body.template,
        messages=None if body.messages is None else tuple(map(_message, enumerate(body.messages))),
        licence=licence,
        quantize=body.quantize or "",
    )
    if body.modelfile is not None:
        made = made.with_modelfile(body.modelfile)
    if not made.base and not made.files:
        refuse("from", "“from” is missing: the model that this one is made of.", code="missing_field")
    return made, body.stream is not False


def _message(numbered: tuple[int, CreateMessage]) -> tuple[Role, str]:
    index, entry = numbered
    if entry.role not in ROLES:
        refuse(f"messages[{index}].role", f"“messages[{index}].role” must be one of {', '.join(ROLES)}.")
    return entry.role, entry.content or ""


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
