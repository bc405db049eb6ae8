from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.chat.titles import LONGEST, title_of


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("What is Q4_K_M? And Q8_0?", "What is Q4_K_M?"),
        ("Explain quantization.", "Explain quantization"),
        ("\n\n  # A heading\nand text", "A heading"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("See e.g. the docs. Then answer", "See e.g. the docs"),
        ("量子化とは何ですか？教えてください", "量子化とは何ですか？"),
        ("   \n\t", ""),
        ("a" * 60, "a" * (LONGEST - 1) + "…"),
    ],
)
def test_the_first_sentence_is_the_title(text: str, title: str) -> None:
    assert title_of(text) == title


def test_a_long_sentence_is_cut_between_words() -> None:
    title = title_of("Please compare the memory that each of these models needs with a long context")
    assert title == "Please compare the memory that each of these…"
    assert len(title) <= LONGEST


@given(st.text())
def test_no_text_makes_a_bad_title(text: str) -> None:
    title = title_of(text)
    assert len(title) <= LONGEST
    assert "\n" not in title
    assert title == title.strip()
