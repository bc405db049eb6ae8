"""From tokens' bytes to the text a client sees: whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from slmdesk.engines.marks import overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.engines.tool_calls.reading import AnswerReader
    from slmdesk.inference.answers import Delta, TokenLogprobs


class TextStream:
    """The text of one answer as it grows.

    `plain` is True while a token's complete text may be sent on as it is: no stop strings to watch for and no
    bytes of an unfinished character waiting.
    """

    __slots__ = ("_decoder", "_head", "_held", "_stops", "_strip", "matched", "plain")

    def __init__(self, stops: Sequence[str] = (), *, strip_space: bool = False, head: str = "") -> None:
        """`strip_space`: one space at the very beginning is left out. `head` comes before the first token's text."""
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._strip = strip_space
        self._head = head
        self.plain = not self._stops and not strip_space and not head
        self.matched = ""  # the stop string that was found; the text before it has been given out

    def push(self, data: bytes | str) -> str:
        """Take the next bytes (or complete text); returns what may be shown now."""
        if self._head:
            head, self._head = self._head, ""
            self.plain = not self._stops and not self._strip
            return head + self.push(data)
        text = self._decode(data)
        if self._strip and text:
            self._strip = False
            self.plain = not self._stops and self._complete()
            text = text.removeprefix(" ")
        if not self._stops or not text:
            return text
        text = self._held + text
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            end, self.matched = min(found)
            self._held = ""
            return text[:end]
        keep = max(overlap(text, stop) for stop in self._stops)
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut]

    def finish(self) -> str:
        """What was held back, when the answer ended without a stop string. Half a character is left out."""
        text, self._held = self._held, ""
        self._decoder = None
        return "" if self.stopped else text

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return bool(self.matched)

    @property
    def held(self) -> int:
        """Characters that are held back."""
        return len(self._held)

    def _decode(self, data: bytes | str) -> str:
        if self._decoder is None:
            if isinstance(data, str):
                return data
            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = self._decoder.decode(data.encode() if isinstance(data, str) else data)
        self.plain = not self._stops and not self._strip and self._complete()
        return text

    def _complete(self) -> bool:
        """No bytes of an unfinished character are waiting."""
        return self._decoder is None or not self._decoder.getstate()[0]


class PartsStream:
    """An answer with more to it than text: its parts are told apart, log probabilities come with their text.

    The same as a `TextStream` to the batch loop; never `plain`.
    """

    __slots__ = ("_at", "_reader", "_scores", "_text")

    plain = False

    def __init__(self, text: TextStream, reader: AnswerReader | None) -> None:
        self._text = text
        self._reader = reader
        self._at = 0  # characters given out by the text
        self._scores: list[tuple[int, int, TokenLogprobs]] = []  # from character, to character

    @property
    def stopped(self) -> bool:
        return self._text.stopped

    @property
    def matched(self) -> str:
        return self._text.matched

    @property
    def called(self) -> bool:
        """Whether the answer calls a tool."""
        return self._reader is not None and self._reader.called

    def push(self, data: bytes | str, score: TokenLogprobs | None = None) -> list[Delta]:
        """Take the next bytes, with the log probabilities of their token."""
        start = self._at + self._text.held
        text = self._text.push(data)
        self._at += len(text)
        if score is not None:
            self._scores.append((start, self._at + self._text.held, score))
        return [*self._parts(text), *self._due()]

    def finish(self) -> list[Delta]:
        """What was held back, at the end of the answer."""
        text = self._text.finish()
        self._at += len(text)
        found = [*self._parts(text), *self._due()]
        return [*found, *self._reader.finish()] if self._reader is not None else found

    def _parts(self, text: str) -> list[Delta]:
        if not text:
            return []
        return self._reader.push(text) if self._reader is not None else [text]

    def _due(self) -> list[TokenLogprobs]:
        """The scores of tokens whose text was given out; behind a stop string there are no more."""
        due = [
            score
            for start, end, score in self._scores
            if (start < self._at if self.stopped else end <= self._at)
        ]
        self._scores = [] if self.stopped else self._scores[len(due) :]
        return due
