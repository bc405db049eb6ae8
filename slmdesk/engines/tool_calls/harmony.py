"""gpt-oss: every stretch of an answer has a header that says what it is and for whom.

`<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>commentary to=functions.name
<|constrain|>json<|message|>{…}<|call|>`; see OpenAI's description of the harmony format.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slmdesk.engines.marks import overlap
from slmdesk.inference.answers import ReasoningDelta, ToolCallDelta

if TYPE_CHECKING:
    from slmdesk.engines.tool_calls.bodies import Calls
    from slmdesk.inference.answers import Delta

_MESSAGE = "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_HEADS = ("<|channel|>", "<|start|>", "to=functions.")
_RECIPIENT = re.compile(r"to=functions\.([A-Za-z0-9_.\-]+)")
_LONGEST_HEADER = 400  # characters


class HarmonyReader:
    """Reads an answer of gpt-oss."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._held = ""
        self._kind = "header"
        self._index = -1

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
            before = self._kind, self._held
            found += self._header(last=last) if self._kind == "header" else self._stretch(last=last)
            if (self._kind, self._held) == before:
                return found

    def _header(self, *, last: bool) -> list[Delta]:
        head, mark, rest = self._held.partition(_MESSAGE)
        start = self._held.lstrip()
        if not start:
            return []
        if not any(start.startswith(known) or known.startswith(start) for known in _HEADS):
            self._kind = "text"  # a model that leaves the header out
            return []
        if not mark:
            if last or len(head) > _LONGEST_HEADER:
                self._kind = "text"
            return []
        self._held = rest
        recipient = _RECIPIENT.search(head)
        if recipient is not None and self._calls.knows(recipient[1]):
            self._kind = "call"
            opened = self._calls.opened(recipient[1])
            self._index = opened.index
            return [opened]
        self._kind = "reasoning" if "analysis" in head else "text"
        return []

    def _stretch(self, *, last: bool) -> list[Delta]:
        ends = [(at, mark) for mark in _ENDS if (at := self._held.find(mark)) >= 0]
        if ends:
            at, mark = min(ends)
            text, self._held = self._held[:at], self._held[at + len(mark) :]
        else:
            keep = 0 if last else max(overlap(self._held, mark) for mark in _ENDS)
            cut = len(self._held) - keep
            text, self._held = self._held[:cut], self._held[cut:]
        kind = self._kind
        if ends:
            self._kind = "header"
        if not text:
            return []
        if kind == "call":
            return [ToolCallDelta(self._index, arguments=text)]
        return [ReasoningDelta(text) if kind == "reasoning" else text]
