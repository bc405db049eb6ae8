"""The title a conversation gets from its first message."""

from __future__ import annotations

import re

LONGEST = 48  # characters
_SHORTEST_SENTENCE = 12  # so that "e.g. this" and "Hi. ..." do not end at the first dot
_SENTENCE_END = re.compile(r"[.!?…](?=\s)|[。！？]")
_MARKS = re.compile(r"^[#>*\-\s]+|[*`]+")


def title_of(text: str) -> str:
    """The first sentence of a message in at most 48 characters, cut between words where it is longer."""
    lines = (line.strip() for line in text.splitlines() if not line.lstrip().startswith("```"))
    plain = next((cleaned for line in lines if (cleaned := " ".join(_MARKS.sub("", line).split()))), "")
    for end in _SENTENCE_END.finditer(plain):
        if end.end() >= _SHORTEST_SENTENCE or plain[end.start()] in "。！？":
            plain = plain[: end.end()]
            break
    if len(plain) > LONGEST:
        cut = plain[: LONGEST - 1]
        at_word = cut.rsplit(" ", 1)[0]
        # A text without spaces is cut where it stands.
        plain = (at_word if len(at_word) > LONGEST // 2 else cut).rstrip(" ,;:-") + "…"
    return plain.removesuffix(".") or plain
