"""Reasoning told from the answer, in whole texts and in texts that stream in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.engines.reasoning import PAIRS, Splitter, SplitText, begins, opened_at_end, split, visible

HARMONY = "<|channel|>analysis<|message|>They ask.<|end|><|start|>assistant<|channel|>final<|message|>Paris."


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("Paris.", "", "Paris."),
        ("  indented", "", "  indented"),
        ("", "", ""),
        ("<think>\nHm.\n</think>\n\nParis.", "Hm.", "Paris."),
        ("\n<think>Hm.</think> Paris.", "Hm.", "Paris."),
        ("<think>\n\n</think>\n\nParis.", "", "Paris."),
        ("<think>a</think>\n<think>b</think>c", "ab", "c"),
        ("<think>Hm.</think>\n\n    code", "Hm.", "    code"),
        ("[THINK]Hm.[/THINK]Paris.", "Hm.", "Paris."),
        ("<|channel>thought\nHm.<channel|>Paris.", "Hm.", "Paris."),
        ("<seed:think>Hm.</seed:think>Paris.", "Hm.", "Paris."),
        ("<think>Hm.</think><response>Paris.</response>", "Hm.", "Paris."),
        ("<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Paris.<|END_RESPONSE|>", "Hm.", "Paris."),
        (HARMONY, "They ask.", "Paris."),
        ("<|channel|>final<|message|>Paris.<|end|>", "", "Paris."),
        ("Here is my thought process: Hm. Here is my response:\n\nParis.", "Hm.", "Paris."),
        (
            "Here are my reasoning steps:\nHm.\n[BEGIN FINAL RESPONSE]\nA\n[END FINAL RESPONSE]\n",
            "Hm.",
            "A\n",
        ),
        ("<mm:think>Hm.</mm:think>Paris.", "Hm.", "Paris."),
        ("<|START_RESPONSE|>Paris.<|END_RESPONSE|>", "", "Paris."),
        ("Here are my reasoning steps:\nHm.", "", "Here are my reasoning steps:\nHm."),
        ("Here is my thought process: I walk.", "", "Here is my thought process: I walk."),
        ("Hm, so\n</think>\n\nParis.", "Hm, so", "Paris."),
        # Speaking about reasoning is no reasoning.
        (
            "The tag `<think>` opens it, `</think>` ends it.",
            "",
            "The tag `<think>` opens it, `</think>` ends it.",
        ),
        ("Write <think>x</think>.", "", "Write <think>x</think>."),
        ("<response>Paris.</response>", "", "<response>Paris.</response>"),
        ("<thin", "", "<thin"),
        ("<|channel|>fin", "", "<|channel|>fin"),
    ],
)
def test_the_split_of_a_whole_text(text: str, reasoning: str, answer: str) -> None:
    assert split(text) == SplitText(reasoning, answer)
    assert visible(text) == answer


@pytest.mark.parametrize("mark", [*PAIRS, "<|channel|>analysis<|message|>"])
def test_reasoning_without_an_end_is_all_there_is(mark: str) -> None:
    assert split(f"{mark}\nHm. Let me") == SplitText("Hm. Let me", "", thinking=True)
    assert begins(f"\n{mark}\nHm.")


@given(
    st.sampled_from(
        ["", "<think>", "[THINK]", "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"]
    ),
    st.text("ab<\n/>| ", max_size=20),
    st.sampled_from(["", "</think>", "[/THINK]", "<|end|>"]),
    st.text("ab<\n/>| ", max_size=20),
    st.integers(1, 5),
)
def test_pieces_split_as_the_whole(head: str, inner: str, close: str, tail: str, size: int) -> None:
    text = head + inner + close + tail
    splitter = Splitter()
    parts = [splitter.push(text[at : at + size]) for at in range(0, len(text), size)]
    parts.append(splitter.finish())
    whole = split(text)
    if (
        head or "</think>" not in text
    ):  # only in a whole text does an end alone tell that it was opened before
        assert "".join(answer for _, answer in parts) == whole.visible
        assert "".join(reasoning for reasoning, _ in parts).strip() == whole.reasoning
        assert splitter.thinking == whole.thinking


def test_nothing_is_held_back_longer_than_a_mark_takes() -> None:
    splitter = Splitter()
    assert [splitter.push(piece) for piece in ("<th", "ink>Hm", " so</th", "ink>\n", "Par", "is")] == [
        ("", ""),
        ("Hm", ""),
        (" so", ""),
        ("", ""),
        ("", "Par"),
        ("", "is"),
    ]
    assert Splitter().push("<b>") == ("", "<b>")


def test_a_prompt_that_opens_reasoning() -> None:
    assert opened_at_end("<|im_start|>assistant\n<think>\n") == "<think>\n"
    assert opened_at_end("<｜Assistant｜><think>") == "<think>"
    assert opened_at_end("<|assistant|>\nHere are my reasoning steps:\n") == "Here are my reasoning steps:\n"
    assert opened_at_end("<think>\n\n</think>\n\n") == ""
