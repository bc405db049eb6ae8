"""Reading Markdown piece by piece gives what reading it at once gives."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slmdesk.gui.chat.markdown.parse import parse
from slmdesk.gui.chat.markdown.stream import StreamingMarkdown

PIECES = [
    "plain words",
    " ",
    "\n",
    "\n\n",
    "- item",
    "- ",
    "* star",
    "1. one",
    "2) two",
    "  - nested",
    "    deep",
    "# head",
    "#",
    "---",
    "===",
    "> quote",
    "```python\n",
    "```",
    "~~~\n",
    "| a | b |\n",
    "|---|---|\n",
    "|--",
    "|---|:-:|\n",
    "| 1 | 2 |\n",
    "**bold**",
    "*",
    "_",
    "`code`",
    "`",
    "[text](http://a.example/b)",
    "[ref]",
    "[ref]: http://c.example\n",
    "<b>x</b>",
    "![alt](http://x.example/y.png)",
    "\\",
    "&amp;",
    "\t",
    "   ",
    "http://bare.example/path.",
    "~~gone~~",
    "- [x] done",
    "\r\n",
]


def streamed(text: str, seed: int, largest: int) -> StreamingMarkdown:
    random_source = random.Random(seed)
    stream = StreamingMarkdown()
    at = 0
    while at < len(text):
        step = random_source.randint(1, largest)
        stream.append(text[at : at + step])
        stream.update()
        at += step
    return stream


@settings(max_examples=250, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=24), st.integers(0, 9), st.sampled_from([1, 3, 9]))
def test_any_cut_gives_the_same_blocks(pieces: list[str], seed: int, largest: int) -> None:
    text = "".join(pieces)
    stream = streamed(text, seed, largest)
    stream.finish()
    assert stream.blocks == parse(text)


@pytest.mark.parametrize("largest", [1, 4, 40])
def test_before_the_end_the_blocks_are_those_of_the_text_so_far(largest: int) -> None:
    text = "Intro\n# Head\n1. one\n   ```sh\n   ls\n   ```\n2. two\n\ntext\n"
    text += "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1\n"
    stream = StreamingMarkdown()
    for at in range(0, len(text), largest):
        stream.append(text[at : at + largest])
        before = list(stream.blocks)
        stream.update()
        assert stream.blocks == parse(text[: at + largest])
        assert all(
            old is new or old == new for old, new in zip(before[: stream.kept], stream.blocks, strict=False)
        )


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(["| a | b |\n", "| `x` |\n", "|||\n", "row\n", "| a", "|", "\n"]), max_size=60)
)
def test_a_table_row_by_row(rows: list[str]) -> None:
    text = "before\n\n| h | **k** |\n|---|--:|\n" + "| one | two |\n" * 10 + "".join(rows)
    stream = streamed(text, 1, 9)
    stream.finish()
    assert stream.blocks == parse(text)


def test_finished_blocks_are_not_read_again() -> None:
    stream = StreamingMarkdown()
    for number in range(200):
        stream.append(f"Paragraph {number} with **bold** words.\n\n")
        stream.update()
    kept = stream.blocks[:-2]
    stream.append("The last one")
    stream.update()
    assert stream.kept >= 199
    assert all(old is new for old, new in zip(kept, stream.blocks, strict=False))
    assert len(stream._tail) < 200
