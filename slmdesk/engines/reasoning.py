"""Where a model thinks aloud: telling its reasoning from its answer in text as the model wrote it, and back.

Only reasoning at the beginning counts (and what follows right behind it): an answer that speaks *about* `<think>` is
an answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.engines.marks import overlap
from slmdesk.inference.asks import Part, Reasoning, Text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

# Opening mark -> closing mark, of the families that have them.
PAIRS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|channel>thought": "<channel|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<mm:think>": "</mm:think>",
    "◁think▷": "◁/think▷",
}
# Around an answer; the marks themselves say nothing. The first ones count only behind reasoning.
_WRAPPERS = {"<response>": "</response>", "<answer>": "</answer>"}
_ALWAYS = {"<|START_RESPONSE|>": "<|END_RESPONSE|>", "<|START_TEXT|>": "<|END_TEXT|>"}
CHANNEL, _MESSAGE, _END, _START = "<|channel|>", "<|message|>", "<|end|>", "<|start|>"
_HEADS = (CHANNEL, f"{_START}assistant{CHANNEL}")
_ANSWER_CHANNEL = "final"

# Control tokens of these texts are part of what a model writes: without them the two cannot be told apart.
CONTROL_MARKS = frozenset(
    {mark for pair in PAIRS.items() for mark in pair}
    | {mark for pair in (*_WRAPPERS.items(), *_ALWAYS.items()) for mark in pair}
    | {"<|channel>", "<channel|>", CHANNEL, _MESSAGE}
)
# These only where channels are: elsewhere they end a turn.
CHANNEL_MARKS = frozenset({_END, _START})

# Said in plain words (Granite 3.2, Apriel), so it counts only once both are there.
_ANSWER_IN_WORDS = {
    "Here is my thought process:": "Here is my response:",
    "Here are my reasoning steps:": "[BEGIN FINAL RESPONSE]",
}
_WORDS = tuple(_ANSWER_IN_WORDS)
_IN_WORDS = re.compile(
    rf"\s*(?:{'|'.join(_WORDS)})(.*?)"
    r"(?:Here is my response:|\[BEGIN FINAL RESPONSE\])(.*?)(?:\[END FINAL RESPONSE\]\s*)?",
    re.DOTALL,
)
_LONE_CLOSE = re.compile(r"^[ \t]*</think>[ \t]*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"(?:[ \t]*\n)*")


@dataclass(frozen=True, slots=True)
class SplitText:
    """A text cut in two. `thinking`: the reasoning has no end, so nothing of the answer is there."""

    reasoning: str
    visible: str
    thinking: bool = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """As parts of a turn; none where nothing was thought."""
        if not self.reasoning.strip():
            return ()
        return (Reasoning(self.reasoning), *((Text(self.visible),) if self.visible else ()))


def split(text: str) -> SplitText:
    """The reasoning, as it stands there, and the answer in a whole text."""
    splitter = Splitter()
    reasoning, visible = splitter.push(text)
    more_reasoning, more_visible = splitter.finish()
    reasoning, visible = reasoning + more_reasoning, visible + more_visible
    return SplitText(reasoning, visible, splitter.thinking) if splitter.reasoned else split_late(visible)


def split_late(text: str) -> SplitText:
    """The same for what only a whole text tells: reasoning said in plain words, or opened in the prompt unseen."""
    if (said := _IN_WORDS.fullmatch(text)) is not None:
        return SplitText(said[1], _without_blank_start(said[2]))
    lone = _LONE_CLOSE.search(text) if "</think>" in text else None
    if lone is not None and "<think>" not in text[: lone.start()]:
        return SplitText(text[: lone.start()], _without_blank_start(text[lone.end() :]))
    return SplitText("", text)


@dataclass(frozen=True, slots=True)
class Marks:
    """How one model marks its reasoning. `opens` stands before it, `closes` between it and the answer."""

    opens: str = "<think>"
    closes: str = "</think>\n\n"

    @classmethod
    def of(cls, template: str, specials: Collection[str] = ()) -> Marks:
        """Those that its chat template speaks of, or else has tokens for; most models know no others than the usual."""
        if CHANNEL in template:
            return cls(f"{CHANNEL}analysis{_MESSAGE}", f"{_END}{_HEADS[1]}{_ANSWER_CHANNEL}{_MESSAGE}")
        for said in _WORDS:
            if said in template:
                closes = _ANSWER_IN_WORDS[said]
                return cls(f"{said}\n", f"\n{closes}\n")
        mark = next((mark for mark in PAIRS if mark in template), "") or next(
            (mark for mark in PAIRS if mark in specials), "<think>"
        )
        answer = next((wrapper for wrapper in (*_ALWAYS, *_WRAPPERS) if wrapper in template), "")
        blank = "\n\n" if PAIRS[mark].startswith("</") else ""
        return cls(mark, f"{PAIRS[mark]}{blank}{answer}")

    def around(self, parts: Iterable[Part]) -> str:
        """An answer as the model wrote it, or began to write it: with its reasoning in its marks."""
        parts = tuple(parts)
        thought = "".join(part.text for part in parts if isinstance(part, Reasoning))
        answer = "".join(part.text for part in parts if isinstance(part, Text))
        if not thought:
            return answer
        return f"{self.opens}{thought}{self.closes}{answer}" if answer else f"{self.opens}{thought}"


def begins(text: str) -> bool:
    """Whether a text begins with a mark that comes before answers: the model's own, not the template's."""
    return text.lstrip().startswith((*PAIRS, *_HEADS, *_ALWAYS, *_WORDS))


def opened_at_end(prompt: str) -> str:
    """The end of a prompt where it opens the reasoning for the model ("<think>\\n"), else ""."""
    bare = prompt.rstrip()
    mark = next((mark for mark in (*PAIRS, *_WORDS) if bare.endswith(mark)), "")
    return prompt[len(bare) - len(mark) :] if mark else ""


class Splitter:
    """The split of a text that comes in pieces. `push` and `finish` return (reasoning, answer), each new text.

    `begun`: what was written before, in whose middle the text may begin; nothing of it is returned.
    """

    def __init__(self, begun: str = "") -> None:
        self._held = ""
        self._close = ""  # what ends the part being read; "" in an answer that only ends with the text
        self.reasoned = False  # there was an opening mark
        self._state = "start"
        self._returned = ""
        self.push(begun)
        self._returned = self._held if self._state != "rest" else ""  # that was returned before, so not again

    @property
    def thinking(self) -> bool:
        """Whether the text read so far ends inside reasoning."""
        return self._state == "reasoning"

    def push(self, text: str) -> tuple[str, str]:
        """Take the next text."""
        if self._state == "rest":
            return "", text
        self._held += text
        return self._new(*self._read(last=False))

    def finish(self) -> tuple[str, str]:
        """What was held back, at the end of the text."""
        if self._state == "rest":
            return "", ""
        return self._new(*self._read(last=True))

    def _new(self, reasoning: str, answer: str) -> tuple[str, str]:
        """Without what is known already: a beginning that was held, as a mark may do, and then was none."""
        before = self._returned
        if before and (reasoning or answer):
            self._returned = ""
            if reasoning:
                return reasoning.removeprefix(before), answer
            return "", answer.removeprefix(before)
        return reasoning, answer

    def _read(self, *, last: bool) -> tuple[str, str]:
        reasoning, answer = "", ""
        while self._state != "rest":
            before = self._state, self._held
            if self._state == "start":
                answer += self._begin(last=last)
            else:
                taken = self._take(last=last)
                if before[0] == "reasoning":
                    reasoning += taken
                else:
                    answer += taken
            if (self._state, self._held) == before:
                break
        return reasoning, answer

    def _begin(self, *, last: bool) -> str:
        """Decide what comes next: reasoning, an answer in marks, or plain text (which is returned)."""
        start = self._held.lstrip()
        head = next((head for head in _HEADS if start.startswith(head)), "")
        if head and self._open_channel(start[len(head) :]):
            return ""
        for mark, close in PAIRS.items():
            if start.startswith(mark):
                self._state, self._close, self._held = "reasoning", close, start[len(mark) :]
                self.reasoned = True
                return ""
        wrappers = _ALWAYS | (_WRAPPERS if self.reasoned else {})
        for mark, close in wrappers.items():
            if start.startswith(mark):
                self._state, self._close, self._held = "answer", close, start[len(mark) :].lstrip("\n")
                return ""
        marks = (*_HEADS, *PAIRS, *wrappers)
        if not last and (head or not start or any(mark.startswith(start) for mark in marks)):
            return ""
        text, self._held, self._state = self._held, "", "rest"
        return _without_blank_start(text) if self.reasoned else text

    def _open_channel(self, rest: str) -> bool:
        name, found, text = rest.partition(_MESSAGE)
        if not found:
            return False
        final = name.strip().startswith(_ANSWER_CHANNEL)
        self._state, self._close, self._held = ("answer" if final else "reasoning"), _END, text
        self.reasoned = True
        return True

    def _take(self, *, last: bool) -> str:
        """Text up to the closing mark, as far as it is certain."""
        text, found, rest = self._held.partition(self._close)
        if found:
            self._state, self._held = "start", rest
            return text
        keep = 0 if last else overlap(self._held, self._close)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text


def _without_blank_start(text: str) -> str:
    blank = _BLANK_LINES.match(text)
    text = text[blank.end() :] if blank else text
    return text if text.startswith(("    ", "\t")) else text.lstrip(" ")
