"""Search, pages and cards against a hub on the loopback: when it answers, and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from slmdesk.catalog.catalog import Catalog
from slmdesk.catalog.records import CatalogEntry, CatalogQuery, SearchPage
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import read_header
from tests.hub import LoopbackHub

Make = Callable[..., Catalog]


async def pages(catalog: Catalog, query: CatalogQuery, most: int = 20) -> list[SearchPage]:
    found = []
    async with aclosing(catalog.search(query)) as search:
        async for page in search:
            found.append(page)
            if len(found) == most:
                break
    return found


async def hub_ids(catalog: Catalog, text: str = "", **fields: object) -> list[str]:
    query = CatalogQuery(text, **fields)  # type: ignore[arg-type]
    return [e.id for page in await pages(catalog, query) if page.source == "hub" for e in page.entries]


async def test_the_built_in_list_answers_first_and_the_hub_adds_its_facts(catalog: Catalog) -> None:
    found = await pages(catalog, CatalogQuery("qwen3-0.6b"))
    assert [page.source for page in found] == ["built_in", "hub"]
    known = found[0].entries[0]
    assert (known.id, known.built_in, known.downloads) == ("Qwen/Qwen3-0.6B", True, 0)
    assert "Qwen/Qwen3-0.6B-GGUF" in known.repos["gguf"]
    same = found[1].entries[0]
    assert (same.id, same.built_in, same.downloads, same.tier) == ("Qwen/Qwen3-0.6B", True, 500, "micro")
    assert not found[1].more


async def test_filters_reach_the_hub_and_hold(catalog: Catalog, hub: LoopbackHub) -> None:
    every = await hub_ids(catalog, sort="downloads")
    assert every == [
        "pub/guide-GGUF",
        "pub/tiny-0.6B-Instruct",
        "pub/large-20B-base-onnx",
        "other/gated-3B-it-GGUF",
        "Qwen/Qwen3-0.6B",
        "mlx-community/some-1B-4bit",
    ]
    assert await hub_ids(catalog, formats=("gguf",)) == ["pub/guide-GGUF", "other/gated-3B-it-GGUF"]
    assert hub.requests[-1].query["filter"] == ["gguf"]
    # The built-in list knows Qwen3 in these formats too, in other repositories.
    several = await hub_ids(catalog, formats=("onnx", "mlx"))
    assert several == ["pub/large-20B-base-onnx", "Qwen/Qwen3-0.6B", "mlx-community/some-1B-4bit"]
    assert await hub_ids(catalog, formats=("safetensors",), sort="likes") == [
        "pub/tiny-0.6B-Instruct",
        "Qwen/Qwen3-0.6B",
    ]
    assert await hub_ids(catalog, licences=("MIT",)) == ["pub/tiny-0.6B-Instruct"]
    assert await hub_ids(catalog, gated=True) == ["other/gated-3B-it-GGUF"]
    assert await hub_ids(catalog, kind="base") == ["pub/large-20B-base-onnx"]
    # Also those whose size only their name tells.
    small = ["pub/tiny-0.6B-Instruct", "Qwen/Qwen3-0.6B", "mlx-community/some-1B-4bit"]
    assert await hub_ids(catalog, tiers=("micro",), sort="likes") == small
    assert await hub_ids(catalog, tiers=("micro",), formats=("safetensors",)) == ["pub/tiny-0.6B-Instruct"]
    assert hub.requests[-1].query["num_parameters"] == ["min:0.1B,max:1.5B"]
    fitting = await hub_ids(catalog, fits=True, memory=800_000_000, sort="likes")
    assert fitting == ["pub/guide-GGUF", "pub/tiny-0.6B-Instruct", "Qwen/Qwen3-0.6B"]
    assert await hub_ids(catalog, "guide", publisher="pub") == ["pub/guide-GGUF"]


async def test_pages_come_as_they_are_asked_for(catalog: Catalog, hub: LoopbackHub) -> None:
    hub.page_size = 2
    query = CatalogQuery(sort="likes")
    async with aclosing(catalog.search(query)) as search:
        first = await anext(search)
        assert (len(first.entries), first.more, hub.count("GET", "/api/models")) == (2, True, 1)
        second = await anext(search)
        assert [e.likes for e in first.entries + second.entries] == [9, 8, 7, 6]
        assert hub.count("GET", "/api/models") == 2
    # Again within minutes: nothing is asked a second time.
    again = await pages(catalog, query)
    assert hub.count("GET", "/api/models") == 3
    assert [len(page.entries) for page in again] == [2, 2, 2]
    assert not again[-1].more


async def test_a_pasted_address_is_the_model_itself(catalog: Catalog, hub: LoopbackHub) -> None:
    for text in (
        "other/gated-3B-it-GGUF",
        "https://huggingface.co/other/gated-3B-it-GGUF/tree/main",
        "ollama run hf.co/other/gated-3B-it-GGUF:Q4_K_M",
    ):
        first = (await pages(catalog, CatalogQuery(text), most=1))[0]
        assert [e.id for e in first.entries] == ["other/gated-3B-it-GGUF"]
    missing = (await pages(catalog, CatalogQuery("pub/not-there"), most=1))[0]
    assert missing.error is not None
    assert missing.error.code == "repo_not_found"


async def test_an_address_without_a_publisher_is_where_the_model_is_now(
    catalog: Catalog, hub: LoopbackHub
) -> None:
    hub.moved["guide"] = "pub/guide-GGUF"
    page = await catalog.model_page("guide")
    assert page.repo == "pub/guide-GGUF"
    pages = [
        page async for page in catalog.search(CatalogQuery(text="https://huggingface.co/guide/tree/main"))
    ]
    assert pages[0].entries[0].id == "pub/guide-GGUF"
    # What follows are models like it, not all there are.
    assert {entry.id for page in pages for entry in page.entries} == {"pub/guide-GGUF"}


async def test_without_the_hub_the_cache_and_the_list_answer_with_a_line(
    make: Make, hub: LoopbackHub
) -> None:
    await hub_ids(make(), "guide")
    hub.stop()
    later = make()  # another start of the program, with the same database
    found = await pages(later, CatalogQuery("guide-gguf"))
    assert [(page.source, [e.id for e in page.entries]) for page in found] == [("cache", ["pub/guide-GGUF"])]
    assert found[0].error is not None
    assert found[0].error.code == "hub_unreachable"
    assert "cannot be reached" in found[0].note
    offline = make(SLMDESK_NETWORK_OFFLINE="true")
    found = await pages(offline, CatalogQuery("phi-4-mini"))
    assert any(e.id == "microsoft/Phi-4-mini-instruct" for e in found[0].entries)
    assert found[-1].note.startswith("SLM Desk works offline.")
    assert not found[-1].more


@pytest.mark.parametrize("fault", ["status", "cut_json", "cut", "loop"])
async def test_no_fault_of_the_hub_raises(catalog: Catalog, hub: LoopbackHub, fault: str) -> None:
    for pattern in ("/api/models", "/api/models/*"):
        if fault == "status":
            hub.faults.status(pattern, 500, times=None)
        elif fault == "loop":
            hub.faults.redirect_loop(pattern)
        else:
            getattr(hub.faults, fault)(pattern, times=None)
    found = await pages(catalog, CatalogQuery("qwen3"))
    assert found[0].entries
    assert found[-1].note
    with pytest.raises(SlmDeskError):
        await catalog.model_page("pub/guide-GGUF")


async def test_odd_answers_are_taken_for_what_they_are(catalog: Catalog, hub: LoopbackHub) -> None:
    hub["pub/guide-GGUF"].facts = {
        "gguf": "?",
        "tags": [1, None],
        "downloads": "many",
        "cardData": [],
        "likes": -4,
    }
    hub["pub/large-20B-base-onnx"].facts = {"id": 5}
    assert "pub/guide-GGUF" in await hub_ids(catalog, sort="likes")
    hub["pub/guide-GGUF"].facts = {"siblings": {"a": 1}, "securityRepoStatus": "?", "sha": None}
    assert (await catalog.model_page("pub/guide-GGUF")).info.files == ()
    hub["pub/guide-GGUF"].facts = {"id": None}
    with pytest.raises(SlmDeskError) as caught:
        await catalog.model_page("pub/guide-GGUF", refresh=True)
    assert caught.value.code == "hub_answer_invalid"


async def test_a_new_keystroke_cancels_the_old_search(catalog: Catalog, hub: LoopbackHub) -> None:
    await catalog.ready()
    hub.faults.stall("/api/models")
    task = asyncio.create_task(pages(catalog, CatalogQuery("gui", sort="likes")))
    while not hub.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await hub_ids(catalog, "guide") == ["pub/guide-GGUF"]


async def test_what_was_seen_is_found_while_typing(make: Make) -> None:
    catalog = make()
    assert catalog.instant(CatalogQuery("guide")).total == 0
    await hub_ids(catalog, "guide")
    assert [e.id for e in catalog.instant(CatalogQuery("guid")).entries] == ["pub/guide-GGUF"]
    again = make()
    await again.ready()
    assert [e.id for e in again.instant(CatalogQuery("guid")).entries] == ["pub/guide-GGUF"]
    assert again.instant(CatalogQuery("https://huggingface.co/Qwen/Qwen3-0.6B")).entries[0].built_in


async def test_a_models_page(catalog: Catalog, hub: LoopbackHub) -> None:
    page = await catalog.model_page("other/gated-3B-it-GGUF")
    assert page.info.revision == hub["other/gated-3B-it-GGUF"].sha
    assert [(c.id, c.size_bytes, c.level) for c in page.choices] == [
        ("Q8_0", 200, "unsafe"),
        ("Q4_K_M", 100, ""),
    ]
    assert page.choices[1].files[0].sha256 == hub["other/gated-3B-it-GGUF"].files["gated-Q4_K_M.gguf"].sha256
    assert [file.path for file in page.flagged] == ["gated-Q8_0.gguf"]
    assert (page.info.gate, page.info.scanned, page.note) == ("manual", True, "")
    assert page.url == f"{hub.url}/other/gated-3B-it-GGUF"
    assert page.base_models == ("pub/tiny-0.6B-Instruct",)
    assert [e.id for e in await catalog.quantized("pub/tiny-0.6B-Instruct")] == ["other/gated-3B-it-GGUF"]
    hub.stop()
    hub_down = await catalog.model_page("other/gated-3B-it-GGUF", refresh=True)
    assert "cannot be reached" in hub_down.note
    assert replace(hub_down, note="") == page
    with pytest.raises(SlmDeskError) as caught:
        await catalog.model_page("pub/guide-GGUF")
    assert caught.value.code == "hub_unreachable"


async def test_a_card_has_no_table_of_facts_and_is_kept(catalog: Catalog, hub: LoopbackHub) -> None:
    card = await catalog.card("pub/guide-GGUF")
    assert card.text.startswith("# Small")
    assert card.pictures
    assert (await catalog.card("Qwen/Qwen3-0.6B")).text == ""
    hub.stop()
    assert "cannot be reached" in (await catalog.card("pub/guide-GGUF", refresh=True)).note


async def test_the_header_of_a_remote_file(catalog: Catalog, hub: LoopbackHub, desk_guide: object) -> None:
    from pathlib import Path

    assert isinstance(desk_guide, Path)
    header = await catalog.header("pub/guide-GGUF", "guide-F16.gguf")
    local = read_header(desk_guide)
    assert (header.architecture, header.context_length) == (local.architecture, local.context_length)
    assert len(header.tensors) == len(local.tensors)
    assert hub.served("pub/guide-GGUF") < desk_guide.stat().st_size / 2


async def test_forecasts_and_the_best_choice(catalog: Catalog) -> None:
    page = await catalog.judge(await catalog.model_page("pub/guide-GGUF"), context=512)
    best = page.best
    assert best is not None
    assert best.fit is not None
    assert best.fit.forecast.context == 512
    assert best.fit.forecast.total_bytes > best.weights_bytes
    assert best.reason
    tiny = await catalog.judge(await catalog.model_page("pub/tiny-0.6B-Instruct"))
    assert tiny.architecture is not None
    assert tiny.architecture.name == "qwen3"
    assert tiny.best is None  # nothing in it runs here as it is
    broken = await catalog.judge(await catalog.model_page("other/gated-3B-it-GGUF"))
    assert broken.architecture is None
    assert [c.fit for c in broken.choices] == [None, None]


async def test_models_side_by_side(catalog: Catalog) -> None:
    table = await catalog.compare(["pub/guide-GGUF", "other/gated-3B-it-GGUF", "Qwen/Qwen3-0.6B"])
    rows = {row.key: row for row in table.rows}
    assert rows["downloads"].values == (900, 600, 500)
    assert rows["downloads"].better == (0,)
    assert rows["gate"].values == ("no", "yes", "no")
    assert rows["flagged"].values == (0, 1, 0)
    assert rows["flagged"].better == (0, 2)
    for repos in (["pub/guide-GGUF"], ["a/b"] * 5):
        with pytest.raises(SlmDeskError) as caught:
            await catalog.compare(repos)
        assert caught.value.code == "compare_count"


async def test_a_database_that_cannot_be_used_costs_only_the_cache(
    make: Make, tmp_path: object, hub: LoopbackHub
) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    (tmp_path / "catalog.db").write_bytes(b"no database at all" * 100)
    assert await hub_ids(make(), "guide") == ["pub/guide-GGUF"]


def test_entries_say_their_tier() -> None:
    sizes = (0, 99_999_999, 100_000_000, 1_500_000_000, 13_999_999_999, 14_000_000_000, 30_000_000_000)
    tiers = [CatalogEntry("a/b", size).tier for size in sizes]
    assert tiers == [None, None, "micro", "small", "small", "medium", None]
