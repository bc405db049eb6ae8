"""What a person types or pastes, and what a model's name says."""

from __future__ import annotations

import pytest

from slmdesk.catalog import names
from slmdesk.catalog.names import Wanted, is_repo, kind_of, parameters_in, read


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("qwen 0.6b  gguf", Wanted(words="qwen 0.6b gguf")),
        (" Qwen/Qwen3-0.6B ", Wanted(repo="Qwen/Qwen3-0.6B")),
        ("pub/name:Q4_K_M", Wanted(repo="pub/name", words="Q4_K_M")),
        ("https://huggingface.co/pub/name", Wanted(repo="pub/name")),
        (
            "https://mirror.example/pub/name/blob/main/a/b.gguf",
            Wanted(repo="pub/name", revision="main", file="a/b.gguf"),
        ),
        ("huggingface.co/pub/name/tree/v1", Wanted(repo="pub/name", revision="v1")),
        ("ollama run hf.co/pub/name:Q8_0", Wanted(repo="pub/name", words="Q8_0")),
        ("hf download pub/name a.gguf", Wanted(repo="pub/name", file="a.gguf")),
        ("https://huggingface.co/models?search=small+one", Wanted(words="small one")),
        ("https://[", Wanted(words="https://[")),
        ("gpt2", Wanted(words="gpt2", bare="gpt2")),
        ("gpt2:F16", Wanted(words="gpt2:F16", bare="gpt2")),
        ("https://huggingface.co/gpt2", Wanted(words="gpt2", bare="gpt2")),
        ("hf.co/gpt2", Wanted(words="gpt2", bare="gpt2")),
        ("https://huggingface.co/gpt2/tree/main", Wanted(repo="gpt2", revision="main")),
        (
            "https://huggingface.co/gpt2/blob/main/onnx/config.json",
            Wanted(repo="gpt2", revision="main", file="onnx/config.json"),
        ),
        ("https://huggingface.co/models", Wanted(words="models")),
        ("two words", Wanted(words="two words")),
        ("", Wanted()),
    ],
)
def test_reading_what_was_typed(text: str, meant: Wanted) -> None:
    assert read(text) == meant


def test_sizes_and_kinds_in_names() -> None:
    sizes = {
        "Qwen/Qwen3-0.6B": 6e8,
        "a/gemma-3-270m-it": 2.7e8,
        "m/Mixtral-8x7B": 5.6e10,
        "Qwen/Qwen3-30B-A3B": 3e10,
        "a/bert-base": 0,
        "7B/model": 0,
        "a/phi-4": 0,
    }
    assert {name: parameters_in(name) for name in sizes} == sizes
    assert [kind_of(name, "", ()) for name in ("a/x-1B-it", "a/x-1B-base", "a/x-1B")] == [
        "instruct",
        "base",
        None,
    ]
    assert kind_of("a/x", "feature-extraction", ()) == "embedding"
    assert kind_of("a/x", "text-generation", ("conversational",)) == "instruct"


def test_what_may_be_a_repository() -> None:
    assert is_repo("pub/name-1.5B_x")
    assert not any(is_repo(text) for text in ("name", "../name", "a/b/c", "a/..", "a/b?c", "a/b..c"))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a/b", ("a/b", "", "")),
        ("a/b:Q4_0", ("a/b", "Q4_0", "")),
        ("a/b/x/y.gguf", ("a/b", "x/y.gguf", "")),
        ("https://huggingface.co/a/b/blob/v1/x/y.gguf", ("a/b", "x/y.gguf", "v1")),
        ("gpt2", ("gpt2", "", "")),
        ("gpt2:Q8_0", ("gpt2", "Q8_0", "")),
        ("a b/c", None),
        ("/a/b", None),
        ("two words", None),
    ],
)
def test_one_model_is_meant(text: str, meant: tuple[str, str, str] | None) -> None:
    assert names.one_model(text) == meant
