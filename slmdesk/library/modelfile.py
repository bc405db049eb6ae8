"""Ollama's Modelfile: a text that says how a model is to be run. Read and written.

Source: docs/modelfile.mdx of Ollama.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slmdesk.inference.asks import Role

WORDS = ("FROM", "PARAMETER", "SYSTEM", "TEMPLATE", "MESSAGE", "ADAPTER", "LICENSE", "REQUIRES")
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_FENCE = '"""'
_LONGEST = 1024 * 1024  # characters


@dataclass(slots=True)
class Modelfile:
    """What one says. `parameters`: texts by Ollama's names, each with the number of its line."""

    base: str = ""
    parameters: list[tuple[str, str, int]] = field(default_factory=list)
    system: str = ""
    template: str = ""
    messages: list[tuple[Role, str]] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)
    licence: str = ""


def read_modelfile(text: str) -> Modelfile:
    """Raises `SlmDeskError("modelfile_invalid")` with the line's number and the right word."""
    if len(text) > _LONGEST:
        raise SlmDeskError("modelfile_invalid", "The Modelfile is longer than 1 MiB.", "Shorten its texts.")
    made = Modelfile()
    lines = text.replace("\r\n", "\n").removeprefix("\ufeff").split("\n")
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        name = word.upper()
        if name not in WORDS:
            _refuse(number, f"there is no “{word[:40]}”", _right_word(word.upper(), WORDS))
        if name in {"PARAMETER", "MESSAGE"}:
            key, _, rest = rest.strip().partition(" ")
        else:
            key = ""
        value, at = _value(rest.strip(), lines, at, number)
        if not value and name not in {"SYSTEM", "TEMPLATE", "LICENSE"}:
            _refuse(number, f"{name} says nothing", f"Write a value behind {name}.")
        _take(made, name, key, value, number)
    if not made.base:
        raise SlmDeskError(
            "modelfile_invalid",
            "The Modelfile has no line FROM.",
            "Begin it with FROM and a model, as in FROM publisher/name.",
        )
    return made


def write_modelfile(
    base: str,
    parameters: Mapping[str, Iterable[str]],
    *,
    system: str = "",
    template: str = "",
    messages: Iterable[tuple[str, str]] = (),
    adapters: Iterable[str] = (),
    licence: str = "",
) -> str:
    """The text of a model, as `read_modelfile` reads it."""
    lines = [f"FROM {base}"]
    lines += [f"ADAPTER {adapter}" for adapter in adapters]
    lines += [f"TEMPLATE {_quoted(template)}"] if template else []
    lines += [f"SYSTEM {_quoted(system)}"] if system else []
    lines += [f"PARAMETER {name} {value}" for name, values in parameters.items() for value in values]
    lines += [f"MESSAGE {role} {_quoted(text)}" for role, text in messages]
    lines += [f"LICENSE {_quoted(licence)}"] if licence else []
    return "\n".join(lines) + "\n"


def _value(rest: str, lines: list[str], at: int, number: int) -> tuple[str, int]:
    """The text behind a word, which may go over several lines within three quotes; and the next line's place."""
    if not rest.startswith(_FENCE):
        one = re.fullmatch(r'"(.*)"', rest, re.DOTALL)
        return (one[1] if one else rest), at
    rest = rest.removeprefix(_FENCE)
    found = []
    while _FENCE not in rest:
        found.append(rest)
        if at >= len(lines):
            _refuse(number, f"what begins with {_FENCE} does not end", f"Put {_FENCE} behind the text.")
        rest = lines[at]
        at += 1
    end, _, behind = rest.partition(_FENCE)
    if behind.strip():
        _refuse(at, f"something stands behind {_FENCE}", "Begin a new line there.")
    return "\n".join([*found, end]), at


def _take(made: Modelfile, name: str, key: str, value: str, number: int) -> None:
    match name:
        case "FROM":
            if made.base:
                _refuse(number, "there is a second FROM", "Leave one of them.")
            made.base = value
        case "PARAMETER":
            made.parameters.append((key.casefold(), value, number))
        case "MESSAGE":
            made.messages.append((_role(key.casefold(), number), value))
        case "SYSTEM":
            made.system = value
        case "TEMPLATE":
            made.template = value
        case "ADAPTER":
            made.adapters.append(value)
        case "LICENSE":
            made.licence = f"{made.licence}\n{value}".strip()
        case _:
            pass  # REQUIRES: a release of Ollama


def _role(text: str, number: int) -> Role:
    if text not in ROLES:
        _refuse(number, f"there is no role “{text[:40]}”", _right_word(text, ROLES))
    return text


def _right_word(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(known)}."


def _quoted(text: str) -> str:
    return f"{_FENCE}{text}{_FENCE}" if "\n" in text or '"' in text or not text else text


def _refuse(number: int, what: str, hint: str) -> NoReturn:
    raise SlmDeskError("modelfile_invalid", f"Line {number} of the Modelfile: {what}.", hint)
