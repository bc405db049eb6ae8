"""Finding among many entries: what is found, in which order, and that filters keep their word."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from slmdesk.catalog.index import CatalogIndex
from slmdesk.catalog.records import SORTS, CatalogEntry, CatalogQuery, Format, Kind, Sort, accepts

NAMES = (
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-8B",
    "unsloth/Qwen3-0.6B-GGUF",
    "meta-llama/Llama-3.2-1B-Instruct",
    "google/gemma-3-4b-it",
    "pub/qwenish",
    "llama/other",
    "microsoft/Phi-4-mini-instruct",
)


def ids(index: CatalogIndex, text: str = "", **fields: object) -> list[str]:
    query = CatalogQuery(text, **fields)  # type: ignore[arg-type]
    return [entry.id for entry in index.search(query).entries]


@pytest.fixture
def index() -> CatalogIndex:
    return CatalogIndex(CatalogEntry(name, downloads=100 - n) for n, name in enumerate(NAMES))


def test_all_words_must_be_there_in_any_order(index: CatalogIndex) -> None:
    assert ids(index, "0.6b qwen3") == ["Qwen/Qwen3-0.6B", "unsloth/Qwen3-0.6B-GGUF"]
    assert ids(index, "QWEN3-0.6B gguf") == ["unsloth/Qwen3-0.6B-GGUF"]
    assert ids(index, "Qwen/Qwen3-8B") == ["Qwen/Qwen3-8B"]
    assert len(ids(index)) == len(NAMES)


def test_the_begin_of_a_name_counts_most(index: CatalogIndex) -> None:
    assert ids(index, "llama")[:2] == ["llama/other", "meta-llama/Llama-3.2-1B-Instruct"]
    assert ids(index, "gguf") == ["unsloth/Qwen3-0.6B-GGUF"]
    assert ids(index, "emma") == ["google/gemma-3-4b-it"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("qwne3 0.6b", "Qwen/Qwen3-0.6B"),
        ("gema", "google/gemma-3-4b-it"),
        ("lamma 3.2", "meta-llama/Llama-3.2-1B-Instruct"),
        ("phi4 mini", "microsoft/Phi-4-mini-instruct"),
        ("microsfot", "microsoft/Phi-4-mini-instruct"),
    ],
)
def test_misspelled_words_find_what_was_meant(index: CatalogIndex, typed: str, meant: str) -> None:
    assert meant in ids(index, typed)[:2]


def test_nothing_is_found_for_nonsense(index: CatalogIndex) -> None:
    assert ids(index, "zzzzyx vvkq") == []
    assert ids(CatalogIndex(), "qwen") == []


def test_a_newer_entry_takes_the_place_of_the_older(index: CatalogIndex) -> None:
    index.add([CatalogEntry("pub/qwenish", downloads=7, licence="mit"), CatalogEntry("new/one")])
    assert len(index) == len(NAMES) + 1
    assert ids(index, licences=("mit",)) == ["pub/qwenish"]
    assert ids(index, "qwenish") == ["pub/qwenish"]
    assert ids(index, "new") == ["new/one"]
    many = [CatalogEntry(f"many/model-{n}") for n in range(3000)]
    index.add(many)
    found = index.search(CatalogQuery("many/model"))
    assert (found.total, len(found.entries)) == (3000, 200)
    assert ids(index, "qwenish") == ["pub/qwenish"]


def test_agrees_with_a_plain_search_over_many() -> None:
    draw = random.Random(3)
    formats: tuple[Format, ...] = ("gguf", "safetensors", "onnx", "mlx")
    kinds: tuple[Kind | None, ...] = ("base", "instruct", None)
    entries = [
        CatalogEntry(
            f"p{draw.randint(0, 30)}/{''.join(draw.choices('abcde-.', k=6))}x{n}",
            draw.choice((0, 6e8, 4e9, 2e10)),
            tuple(draw.sample(formats, 2)),
            draw.choice(("mit", "Gemma", "")),
            draw.choice(("", "text-generation")),
            draw.choice(kinds),
            draw.random() < 0.2,
            draw.randint(0, 99),
            draw.randint(0, 9),
            updated=f"2026-0{draw.randint(1, 9)}-11",
            languages=draw.choice(((), ("en",), ("de", "en"))),
        )
        for n in range(2000)
    ]
    entries = [replace(entry, parameters=int(entry.parameters)) for entry in entries]
    index = CatalogIndex(entries)
    for number in range(60):
        text = "".join(draw.choices("abcde", k=draw.randint(0, 3)))
        sort: Sort = draw.choice(SORTS)
        query = CatalogQuery(
            text,
            draw.choice(((), ("gguf",), ("onnx", "mlx"))),
            draw.choice(((), ("micro",), ("small", "medium"))),
            draw.choice(((), ("MIT",), ("mit", "gemma"))),
            draw.choice(("", "text-generation")),
            draw.choice(kinds),
            draw.choice((None, None, True, False)),
            draw.random() < 0.3,
            8_000_000_000,
            draw.choice(((), ("de",))),
            draw.choice(("", "", "P3")),
            sort,
        )
        wanted = {entry.id for entry in entries if text in entry.id.lower() and accepts(query, entry)}
        found = index.search(query, limit=5000)
        if wanted or not text:
            assert {entry.id for entry in found.entries} == wanted, (number, query)
            assert found.total == len(wanted)
        fields = {"downloads": "downloads", "likes": "likes", "size": "parameters", "updated": "updated"}
        if sort in fields:
            values = [getattr(entry, fields[sort]) for entry in found.entries[: len(wanted)]]
            assert values == sorted(values, reverse=True)
