"""From a conversation to the tokens a model was trained to see.

Chat templates are programs inside downloaded files, so they run in jinja2's immutable sandbox. A person's text that
spells a control token ("<|im_end|>") must stay text: such spots are swapped for placeholders before the template
runs and cut into tokens on their own, as plain text, afterwards.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jinja2.parser import Parser

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Private-use characters that stand for swapped text; removed from messages beforehand.
_OPEN, _CLOSE = "\U0010fd00", "\U0010fd01"

Piece = tuple[str, bool]  # text, and whether control tokens in it are meant


class _Generation(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}`, which marks training text in some templates: its content as it is."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.ScopedEvalContextModifier([], body).set_lineno(line)


class ChatTemplate:
    """A compiled template. Raises `SlmDeskError("template_invalid")` when it cannot be compiled."""

    def __init__(
        self, source: str | None, *, bos: str = "", eos: str = "", specials: Iterable[str] = ()
    ) -> None:
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self._bos, self._eos = bos, eos
        self._specials = sorted((text for text in specials if text), key=len, reverse=True)
        try:
            self._template = environment.from_string(source or CHATML)
        except (jinja2.TemplateError, RecursionError, MemoryError) as error:
            raise SlmDeskError(
                "template_invalid",
                f"The model's chat template cannot be read: {error}.",
                "Use another model file of this model; this one's template is damaged.",
            ) from error

    def pieces(
        self, messages: Sequence[dict[str, Any]], options: dict[str, Any] | None = None
    ) -> list[Piece]:
        """The prompt for these messages, ready for the tokenizer.

        When the last message is the assistant's, the prompt ends inside it, so that the model goes on writing it.
        Raises `SlmDeskError("template_failed")` when the template does not take these messages.
        """
        swapped: list[str] = []
        safe = [
            {**message, "content": self._protect(str(message["content"]), swapped)} for message in messages
        ]
        continues = bool(safe) and safe[-1].get("role") == "assistant"
        values = {
            "bos_token": self._bos,
            "eos_token": self._eos,
            "tools": None,
            "documents": None,
            **(options or {}),
            "add_generation_prompt": not continues,
        }
        text = self._render(safe, values)
        if continues:
            text = _cut_after(text, str(safe[-1]["content"]))
        return _split(text, swapped)

    def _render(self, messages: list[dict[str, Any]], values: dict[str, Any]) -> str:
        try:
            return self._run(messages, values)
        except SlmDeskError:
            # Some models know no system role; what it says then leads the first question.
            merged = _without_system(messages)
            if merged is None:
                raise
            return self._run(merged, values)

    def _run(self, messages: list[dict[str, Any]], values: dict[str, Any]) -> str:
        try:
            return self._template.render(messages=messages, **values)
        except Exception as error:  # a template is a program from a file and may raise anything
            raise SlmDeskError(
                "template_failed",
                f"The model's chat template does not take these messages: {str(error) or type(error).__name__}.",
                "Check the order of the roles: system first, then user and assistant in turns.",
            ) from error

    def _protect(self, text: str, swapped: list[str]) -> str:
        text = text.replace(_OPEN, "").replace(_CLOSE, "")
        for special in self._specials:
            if special in text:
                text = text.replace(special, f"{_OPEN}{len(swapped)}{_CLOSE}")
                swapped.append(special)
        return text


def _split(text: str, swapped: list[str]) -> list[Piece]:
    """Cut a rendered prompt at its placeholders."""
    if not swapped:
        return [(text, True)]
    pieces: list[Piece] = []
    head, *rest = text.split(_OPEN)
    pieces.append((head, True))
    for part in rest:
        number, closed, tail = part.partition(_CLOSE)
        if closed and number.isdecimal() and int(number) < len(swapped):
            pieces.append((swapped[int(number)], False))
        pieces.append((tail, True))
    return [piece for piece in pieces if piece[0]]


def _cut_after(text: str, content: str) -> str:
    """The prompt up to the end of its last message's content, without what the template puts behind."""
    for wanted in (content, content.rstrip(), content.strip()):
        at = text.rfind(wanted) if wanted else -1
        if at >= 0:
            return text[: at + len(wanted)]
    return text


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    if len(messages) < 2 or messages[0].get("role") != "system" or messages[1].get("role") != "user":
        return None
    first = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return [first, *messages[2:]]


def _raise(message: object) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _now(format_text: str) -> str:
    return dt.datetime.now().astimezone().strftime(format_text)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """Plain JSON; jinja2's own filter writes it for HTML."""
    allowed = {name: options[name] for name in ("separators", "sort_keys", "ensure_ascii") if name in options}
    return json.dumps(value, indent=indent, **{"ensure_ascii": False, **allowed})
