"""Which file of a repository is meant, and the way from a reference to a forecast through the loopback hub."""

from __future__ import annotations

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.library.fitting import choose, gguf_choices, split_reference

SIZES = {
    "README.md": 10,
    "model-Q8_0.gguf": 800,
    "model-Q4_K_M.gguf": 400,
    "model-Q4_K_S.gguf": 380,
    "mmproj-model-f16.gguf": 50,
    "imatrix.gguf": 5,
    "big/model-F16-00001-of-00002.gguf": 900,
    "big/model-F16-00002-of-00002.gguf": 700,
}


def test_parts_are_one_choice_and_projectors_none() -> None:
    found = {choice.path: choice for choice in gguf_choices(SIZES)}
    assert sorted(found) == [
        "big/model-F16-00001-of-00002.gguf",
        "model-Q4_K_M.gguf",
        "model-Q4_K_S.gguf",
        "model-Q8_0.gguf",
    ]
    split = found["big/model-F16-00001-of-00002.gguf"]
    assert (split.size_bytes, split.first_bytes) == (1600, 900)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("", "model-Q4_K_M.gguf"),
        ("q8_0", "model-Q8_0.gguf"),
        ("Q4_K_S", "model-Q4_K_S.gguf"),
        ("F16", "big/model-F16-00001-of-00002.gguf"),
        ("model-Q8_0.gguf", "model-Q8_0.gguf"),
    ],
)
def test_the_choice(wanted: str, path: str) -> None:
    assert choose(gguf_choices(SIZES), wanted, "a/b").path == path


@pytest.mark.parametrize("wanted", ["Q4_K", "Q2_K", "other.gguf"])
def test_a_choice_that_is_not_there(wanted: str) -> None:
    with pytest.raises(SlmDeskError) as caught:
        choose(gguf_choices(SIZES), wanted, "a/b")
    assert caught.value.code == "file_not_in_repo"
    assert "model-Q8_0.gguf" in caught.value.hint


def test_references() -> None:
    assert split_reference("a/b") == ("a/b", "")
    assert split_reference("a/b:Q4_0") == ("a/b", "Q4_0")
    assert split_reference("a/b/x/y.gguf") == ("a/b", "x/y.gguf")
    for wrong in ("a", "a b/c", "/a/b"):
        with pytest.raises(SlmDeskError):
            split_reference(wrong)
