"""From a conversation to the text a model was trained to see.

Chat templates are programs inside downloaded files, so they run in jinja2's immutable sandbox. What they do to a
conversation is looked at before it is used: each message is first put through as a mark that nobody writes, which
must come out exactly once, so that no question vanishes or is asked twice. A person's text that spells a control
token ("<|im_end|>") must stay text: such spots are swapped for placeholders before the template runs and cut into
tokens as plain text afterwards.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines import reasoning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jinja2.parser import Parser

# Private-use characters that stand for swapped text and mark messages; removed from messages beforehand.
_OPEN, _CLOSE, _MARK = "\U0010fd00", "\U0010fd01", "\U0010fd02"
_MARKED = re.compile(f"{_MARK}[0-9]+{_CLOSE}")
_OURS = str.maketrans("", "", _OPEN + _CLOSE + _MARK)

Piece = tuple[str, bool]  # text, and whether control tokens in it are meant
Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt ready for the tokenizer. `opened`: the mark with which its end opened the model's reasoning."""

    pieces: list[Piece]
    opened: str = ""

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}`, which marks training text in some templates: its content as it is."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.ScopedEvalContextModifier([], body).set_lineno(line)


@dataclass(frozen=True, slots=True)
class _Shape:
    """One way of handing messages to a template: as they are or without a system role, as text or as parts."""

    messages: Messages
    parts: bool

    def given(self, contents: Sequence[str]) -> Messages:
        """The messages with these contents."""
        return [
            {**message, "content": [{"type": "text", "text": content}] if self.parts else content}
            for message, content in zip(self.messages, contents, strict=True)
        ]

    @property
    def contents(self) -> list[str]:
        return [message["content"] for message in self.messages]

    @property
    def marks(self) -> list[str]:
        """A mark in place of each content; none where a message is tool calls alone."""
        return [
            "" if message.get("tool_calls") and not message["content"] else f"{_MARK}{index}{_CLOSE}"
            for index, message in enumerate(self.messages)
        ]


class Renderer(Protocol):
    """A template of another kind: messages in, the prompt's text out."""

    def render(self, messages: Messages, **values: Any) -> str: ...


class ChatTemplate:
    """A compiled template, or one that renders in a way of its own.

    Raises `SlmDeskError("template_invalid")` when it cannot be compiled.
    """

    def __init__(
        self, source: str | Renderer, *, bos: str = "", eos: str = "", specials: Iterable[str] = ()
    ) -> None:
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self.source = source if isinstance(source, str) else ""
        self._bos, self._eos = bos, eos
        self._specials = sorted((text for text in specials if text), key=len, reverse=True)
        self._firsts = {special[0] for special in self._specials}
        self._template: Renderer | jinja2.Template
        try:
            self._template = environment.from_string(source) if isinstance(source, str) else source
        except (jinja2.TemplateError, RecursionError, MemoryError) as error:
            raise SlmDeskError(
                "template_invalid",
                f"The model's chat template cannot be read: {error}.",
                "Use another model file of this model; this one's template is damaged.",
            ) from error

    def prompt(self, messages: Sequence[dict[str, Any]], options: dict[str, Any] | None = None) -> Prompt:
        """The prompt for these messages.

        When the last message is the assistant's, the prompt ends with its text, exactly as it stands there, so that
        the model goes on writing it. Raises `SlmDeskError("template_failed")` when the template does not take these
        messages, leaves one out or repeats one.
        """
        swapped: list[str] = []
        continues = bool(messages) and messages[-1].get("role") == "assistant"
        last = len(messages) - 1
        safe = [
            {
                **message,
                "content": self._protect(str(message["content"]), swapped, continues and index == last),
            }
            for index, message in enumerate(messages)
        ]
        if not continues:
            text = self._rendered(safe, options)
            return Prompt(self._split(text, swapped), reasoning.opened_at_end(text))
        text = self._before_last(safe, options)
        written = str(safe[-1]["content"])
        return Prompt(self._split(text + written, swapped), "" if written else reasoning.opened_at_end(text))

    def _rendered(self, messages: Messages, options: dict[str, Any] | None) -> str:
        """The whole conversation, up to where the answer begins."""
        problems: list[SlmDeskError] = []
        for values in self._values(options, generate=True):
            for shape in _shapes(messages):
                try:
                    _check(self._run(shape.given(shape.marks), values), shape)
                    return self._run(shape.given(shape.contents), values)
                except SlmDeskError as error:
                    problems.append(error)
        raise problems[0]

    def _before_last(self, messages: Messages, options: dict[str, Any] | None) -> str:
        """The prompt up to where the last message's text begins."""
        problems: list[SlmDeskError] = []
        asked = head = None
        if len(messages) > 1:
            try:
                asked = self._rendered(messages[:-1], options)
            except SlmDeskError as error:
                problems.append(error)
        try:
            head = self._head_of_last(messages, options)
        except SlmDeskError as error:
            problems.append(error)
        if asked is not None and head is not None:
            return _where_it_was_written(asked, head, str(messages[-1]["content"]))
        if asked is None and head is None:
            raise problems[0]
        return str(asked if head is None else head)

    def _head_of_last(self, messages: Messages, options: dict[str, Any] | None) -> str:
        """The prompt up to the last message's text, as it would stand in a conversation that goes on.

        Cut at a mark in place of that text: templates trim it, take reasoning out of it, or close it.
        """
        problems: list[SlmDeskError] = []
        for values in self._values(options, generate=False):
            for shape in _shapes(messages):
                try:
                    _check(self._run(shape.given(shape.marks), values), shape)
                    mark = shape.marks[-1]
                    return self._run(shape.given([*shape.contents[:-1], mark]), values).partition(mark)[0]
                except SlmDeskError as error:
                    problems.append(error)
        raise problems[0]

    def _values(self, options: dict[str, Any] | None, *, generate: bool) -> Iterator[dict[str, Any]]:
        """What a template is given besides the messages. Some expect a list of tools, be it an empty one."""
        choices: tuple[list[Any] | None, ...] = (None, [])
        for nothing in choices:
            yield {
                "bos_token": self._bos,
                "eos_token": self._eos,
                "tools": nothing,
                "documents": nothing,
                **(options or {}),
                "add_generation_prompt": generate,
            }

    def _run(self, messages: Messages, values: dict[str, Any]) -> str:
        try:
            return self._template.render(messages=messages, **values)
        except Exception as error:  # a template is a program from a file and may raise anything
            raise SlmDeskError(
                "template_failed",
                f"The model's chat template does not take these messages: {str(error) or type(error).__name__}.",
                "Check the order of the roles: system first, then user and assistant in turns.",
            ) from error

    def _protect(self, text: str, swapped: list[str], own: bool) -> str:
        """`own`: the model wrote it and goes on with it, so its marks of reasoning are meant."""
        text = text.translate(_OURS)
        if not any(first in text for first in self._firsts):
            return text
        for special in self._specials:
            if special in text and not (own and special in reasoning.CONTROL_MARKS | reasoning.CHANNEL_MARKS):
                text = text.replace(special, f"{_OPEN}{len(swapped)}{_CLOSE}")
                swapped.append(special)
        return text

    @cached_property
    def _control(self) -> re.Pattern[str]:
        return re.compile(f"({'|'.join(map(re.escape, self._specials))})")

    def _split(self, text: str, swapped: list[str]) -> list[Piece]:
        """Cut a rendered prompt so that whole stretches between control tokens are plain where somebody's text
        spells such a token: the tokenizer then sees them as it sees any text."""
        if not swapped:
            return [(text, True)]
        pieces: list[Piece] = []
        meant = ""
        for index, part in enumerate(self._control.split(text)):
            if index % 2 or _OPEN not in part:
                meant += part
                continue
            if meant:
                pieces.append((meant, True))
                meant = ""
            pieces.append((_put_back(part, swapped), False))
        return [*pieces, (meant, True)] if meant else pieces


def _where_it_was_written(asked: str, head: str, written: str) -> str:
    """Of two beginnings of an answer, the one behind which the model wrote it.

    `asked` is the prompt that asks for an answer, `head` what stands before an answer of the past. They differ where
    reasoning is: `asked` may open it, `head` may hold an empty one.
    """
    opened = reasoning.opened_at_end(asked)
    if not written:
        return asked
    if reasoning.begins(written):
        return asked.removesuffix(opened)
    if opened or asked == head:
        return head
    added = head[len(asked) :] if head.startswith(asked) else None
    if added is None:
        return asked if asked.startswith(head) else head
    own_space = not added.strip() and written.startswith(added)
    return asked if own_space else head


def _put_back(text: str, swapped: list[str]) -> str:
    head, *rest = text.split(_OPEN)
    for part in rest:
        number, _, tail = part.partition(_CLOSE)
        known = number.isdecimal() and int(number) < len(swapped)  # a template may have cut a text short
        head += (swapped[int(number)] if known else "") + tail
    return head


def _shapes(messages: Messages) -> Iterator[_Shape]:
    """What to try, in this order. Some templates loop over the parts of a content; some want the roles to take turns,
    and some know no system role."""
    yield _Shape(messages, parts=False)
    yield _Shape(messages, parts=True)
    for changed in (
        _taking_turns(messages),
        _without_system(messages),
        _without_system(_taking_turns(messages)),
    ):
        if changed is not None and changed != messages:
            yield _Shape(changed, parts=False)
            yield _Shape(changed, parts=True)


def _check(rendered: str, shape: _Shape) -> None:
    """Raise unless each message's mark came out once."""
    if shape.parts and ("{'type'" in rendered or '{"type"' in rendered):
        raise SlmDeskError("template_failed", "The model's chat template takes no parts.", "")
    found = Counter(_MARKED.findall(rendered))  # in one go: a conversation may have ten thousand messages
    for mark, message in zip(shape.marks, shape.messages, strict=True):
        count = found[mark] if mark else 1
        if count != 1:
            raise _lost(str(message.get("role")), count)


def _lost(role: str, count: int) -> SlmDeskError:
    """A template that alters the conversation without a word."""
    known = {
        "system": "the instructions",
        "user": "a question",
        "assistant": "an answer",
        "tool": "a tool's result",
    }
    who = known.get(role, "a message")
    what = f"leaves out {who}" if count == 0 else f"repeats {who} {count} times"
    return SlmDeskError(
        "template_failed",
        f"The model's chat template {what} (role “{role}”), so the model would not see this conversation.",
        "Use another file of this model; this one's template does not fit such a conversation.",
    )


def _taking_turns(messages: Messages) -> Messages:
    """Neighbours of one role as one message, and instructions that come later at the head of the first ones."""
    found: Messages = []
    begun = messages[-1] if messages and messages[-1].get("role") == "assistant" else None
    for message in messages:
        first = found[0] if found else None
        last = found[-1] if found else None
        plain = not message.get("tool_calls") and message.get("role") != "tool" and message is not begun
        if message.get("role") == "system" and first is not None and first.get("role") == "system":
            found[0] = _joined(first, message)
        elif (
            last is not None
            and plain
            and last.get("role") == message.get("role")
            and not last.get("tool_calls")
        ):
            found[-1] = _joined(last, message)
        else:
            found.append(message)
    return found


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {**first, "content": f"{first['content']}\n\n{second['content']}"}


def _without_system(messages: Messages) -> Messages | None:
    """The system's words at the head of the question that follows; None where that cannot be."""
    if all(message.get("role") != "system" for message in messages):
        return None
    merged: Messages = []
    waiting: list[str] = []
    for message in messages:
        if message.get("role") == "system":
            waiting.append(str(message["content"]))
        elif waiting:
            if message.get("role") != "user":
                return None
            merged.append({**message, "content": "\n\n".join([*waiting, str(message["content"])])})
            waiting = []
        else:
            merged.append(message)
    return None if waiting else merged


def _raise(message: object) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _now(format_text: str) -> str:
    return dt.datetime.now().astimezone().strftime(format_text)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """Plain JSON; jinja2's own filter writes it for HTML."""
    allowed = {name: options[name] for name in ("separators", "sort_keys", "ensure_ascii") if name in options}
    return json.dumps(value, indent=indent, **{"ensure_ascii": False, **allowed})
