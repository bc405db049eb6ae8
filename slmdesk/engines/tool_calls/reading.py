"""From the text a model writes to its reasoning, its tool calls and its answer, while it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slmdesk.engines.marks import overlap
from slmdesk.engines.reasoning import Splitter
from slmdesk.engines.tool_calls.bodies import CallBody
from slmdesk.engines.tool_calls.harmony import HarmonyReader
from slmdesk.inference.answers import ReasoningDelta

if TYPE_CHECKING:
    from slmdesk.engines.tool_calls.bodies import Calls
    from slmdesk.engines.tool_calls.forms import CallForm
    from slmdesk.inference.answers import Delta


class AnswerReader(Protocol):
    """Reads one answer. What is given out is final: nothing is taken back."""

    @property
    def called(self) -> bool:
        """Whether a tool was called."""
        ...

    def push(self, text: str) -> list[Delta]:
        """Take the next text."""
        ...

    def finish(self) -> list[Delta]:
        """What was held back, at the end of the text."""
        ...


def answer_reader(form: CallForm | None, calls: Calls, begun: str = "") -> AnswerReader:
    """The reader of an answer. Without a `form` it tells reasoning and answer apart and knows no calls.

    `begun`: the answer is gone on with behind this text, marks and all.
    """
    if form is not None and form.family == "harmony":
        reader = HarmonyReader(calls)
        reader.push(begun)
        return reader
    return _PartsReader(_CallReader(form, calls) if form is not None else None, begun)


class _PartsReader:
    """Reasoning first, then calls in what is left."""

    def __init__(self, calls: _CallReader | None, begun: str) -> None:
        self._splitter = Splitter(begun)
        self._calls = calls

    @property
    def called(self) -> bool:
        return self._calls is not None and self._calls.called

    def push(self, text: str) -> list[Delta]:
        return self._parts(*self._splitter.push(text))

    def finish(self) -> list[Delta]:
        found = self._parts(*self._splitter.finish())
        return [*found, *self._calls.finish()] if self._calls is not None else found

    def _parts(self, reasoning: str, answer: str) -> list[Delta]:
        found: list[Delta] = [ReasoningDelta(reasoning)] if reasoning else []
        if answer:
            found += self._calls.push(answer) if self._calls is not None else [answer]
        return found


class _CallReader:
    """Finds calls between marks, and where the form allows it an answer that begins as one."""

    def __init__(self, form: CallForm, calls: Calls) -> None:
        self._form = form
        self._calls = calls
        self._held = ""  # not decided yet: text, or the inside of a call
        self._body: CallBody | None = None
        self._begin = ""  # what stands before the body, given back where it was no call
        self._behind = False  # a call ended: its end mark may come
        self._silent = True  # no text was given out yet

    @property
    def called(self) -> bool:
        return self._calls.count > 0

    def push(self, text: str) -> list[Delta]:
        self._held += text
        return self._read(last=False)

    def finish(self) -> list[Delta]:
        return self._read(last=True)

    def _read(self, *, last: bool) -> list[Delta]:
        found: list[Delta] = []
        while True:
            before = self._body, self._held
            found += self._in_text(last=last) if self._body is None else self._in_body(self._body, last=last)
            if (self._body, self._held) == before:
                return found

    def _in_text(self, *, last: bool) -> list[Delta]:
        form = self._form
        if self._behind and not self._past_end(last=last):
            return []
        start = self._held.lstrip()
        if form.bare and self._silent:
            if start.startswith(("{", "[{")):
                return self._open("", self._held[: -len(start)], start)
            if start in {"", "["} and not last:
                return []
        text, mark, rest = self._held.partition(form.begin)
        if mark:
            return self._open(text.rstrip(), mark, rest)
        if last:
            self._held = ""
            return self._given("" if self._silent and self.called and not start else text)
        # A blank end is held too: before a call it is no part of the answer.
        cut = len(text[: len(text) - overlap(text, form.begin)].rstrip())
        self._held = text[cut:]
        return self._given(text[:cut])

    def _past_end(self, *, last: bool) -> bool:
        """Leave out what stands behind a call: blanks and its end mark. False while that may still come."""
        end = self._form.end
        self._held = self._held.lstrip().lstrip(";") if self._form.bare else self._held.lstrip()
        if end and self._held.startswith(end):
            self._held = self._held.removeprefix(end).lstrip()
        elif end and not last and end.startswith(self._held):
            return False
        self._behind = not self._held and not last
        return not self._behind

    def _given(self, text: str) -> list[Delta]:
        if text:
            self._silent = False
        return [text] if text else []

    def _open(self, before: str, mark: str, inside: str) -> list[Delta]:
        self._body, self._begin, self._held = CallBody(self._calls), mark, inside
        return self._given(before)

    def _in_body(self, body: CallBody, *, last: bool) -> list[Delta]:
        end = self._form.end if self._begin.strip() else ""
        text, mark, rest = self._held.partition(end) if end else (self._held, "", "")
        if end and not mark and not last:
            cut = len(text) - overlap(text, end)
            text, rest = text[:cut], text[cut:]
        self._held = rest
        found: list[Delta] = list(body.push(text))
        if mark and not body.done and body.in_string:
            return [*found, *body.push(mark)]  # part of a text
        if not body.done and (mark or last):
            found += body.close()
        return [*found, *self._leave(body, mark)] if body.done else found

    def _leave(self, body: CallBody, mark: str) -> list[Delta]:
        """Behind a call, or behind what only looked like one: that is text."""
        self._body = None
        self._behind = body.given
        if body.given:
            self._held = self._held if mark else body.rest + self._held
            return []
        self._held = body.rest + mark + self._held
        return self._given(self._begin + body.raw[: len(body.raw) - len(body.rest)])
