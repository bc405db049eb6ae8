"""Reasoning told from the answer, in whole texts and in texts that stream in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.engines.reasoning import PAIRS, Marks, Splitter, SplitText, begins, opened_at_end, split
from slmdesk.inference.asks import Reasoning, Text

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
    found = split(text)
    assert (found.reasoning.strip(), found.visible, found.thinking) == (reasoning, answer, False)
    assert bool(found.parts) is bool(reasoning)


@pytest.mark.parametrize("mark", [*PAIRS, "<|channel|>analysis<|message|>"])
def test_reasoning_without_an_end_is_all_there_is(mark: str) -> None:
    assert split(f"{mark}\nHm. Let me ") == SplitText("\nHm. Let me ", "", thinking=True)
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
        assert "".join(reasoning for reasoning, _ in parts) == whole.reasoning
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


@given(
    st.sampled_from(["<think>", "[THINK]", "<|channel|>analysis<|message|>", ""]),
    st.text("ab<[\n ", max_size=20),
    st.sampled_from(["", "</think>\n\nParis", "[/THINK]Paris", "<|end|>"]),
    st.integers(0, 20),
)
def test_a_text_goes_on_wherever_it_was_cut(head: str, inner: str, tail: str, cut: int) -> None:
    """What was held back when it was cut was given out with the first half, and is not given out again."""
    begun, text = head + inner[:cut], head + inner + tail
    first = split(begun)
    later = Splitter(begun)
    pieces = [later.push(letter) for letter in text[len(begun) :]]
    pieces.append(later.finish())
    whole = Splitter()
    wanted = [whole.push(text), whole.finish()]
    assert later.thinking == whole.thinking
    for which, known in enumerate((first.reasoning, first.visible)):
        assert known + "".join(piece[which] for piece in pieces) == "".join(piece[which] for piece in wanted)


@pytest.mark.parametrize(
    ("template", "specials", "thinking", "answered"),
    [
        ("", (), "<think>\nHm", "<think>\nHm</think>\n\nParis"),
        ("{{ '<think>' }}", ("[THINK]",), "<think>\nHm", "<think>\nHm</think>\n\nParis"),
        ("", ("[THINK]", "[/THINK]"), "[THINK]\nHm", "[THINK]\nHm[/THINK]Paris"),
        (
            "<|START_THINKING|><|START_RESPONSE|>",
            (),
            "<|START_THINKING|>\nHm",
            "<|START_THINKING|>\nHm<|END_THINKING|><|START_RESPONSE|>Paris",
        ),
        (
            "<|channel|>",
            (),
            "<|channel|>analysis<|message|>\nHm",
            "<|channel|>analysis<|message|>\nHm<|end|><|start|>assistant<|channel|>final<|message|>Paris",
        ),
        (
            "Here are my reasoning steps:",
            (),
            "Here are my reasoning steps:\n\nHm",
            "Here are my reasoning steps:\n\nHm\n[BEGIN FINAL RESPONSE]\nParis",
        ),
    ],
)
def test_an_answer_is_put_back_as_its_model_writes_it(
    template: str, specials: tuple[str, ...], thinking: str, answered: str
) -> None:
    marks = Marks.of(template, specials)
    thought = Reasoning("\nHm")
    assert marks.around((thought,)) == thinking
    assert marks.around((thought, Text("Paris"))) == answered
    assert marks.around((Text("Paris"),)) == "Paris"
    found = split(answered)
    assert (found.reasoning.strip(), found.visible) == ("Hm", "Paris")


def test_a_prompt_that_opens_reasoning() -> None:
    assert opened_at_end("<|im_start|>assistant\n<think>\n") == "<think>\n"
    assert opened_at_end("<｜Assistant｜><think>") == "<think>"
    assert opened_at_end("<|assistant|>\nHere are my reasoning steps:\n") == "Here are my reasoning steps:\n"
    assert opened_at_end("<think>\n\n</think>\n\n") == ""
