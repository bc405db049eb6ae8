"""What is no model in a repository is told by its header, shown as what it is, and never chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmdesk.catalog.catalog import Catalog
from slmdesk.catalog.choices import find
from slmdesk.formats.gguf import read_header
from slmdesk.formats.gguf_start import start_of
from tests.hub import LoopbackHub
from tests.hub.companions import KINDS, write_companions

REPO = "pub/beside-GGUF"


@pytest.fixture
def repo(hub: LoopbackHub, desk_guide: Path, tmp_path: Path) -> str:
    # Two quants of the model, so that most of what lies there is a model.
    files = {
        "guide-F16.gguf": desk_guide,
        "guide-Q8_0.gguf": desk_guide,
        **write_companions(tmp_path / "made"),
    }
    hub.add(REPO, files)
    return REPO


async def test_the_model_is_chosen_and_the_rest_is_what_it_is(catalog: Catalog, repo: str) -> None:
    page = await catalog.judge(await catalog.model_page(repo))
    kinds = {choice.files[0].path: choice.kind for choice in page.choices}
    assert kinds == {"guide-F16.gguf": "gguf", "guide-Q8_0.gguf": "gguf", **KINDS}
    assert page.best is not None
    assert page.best.files[0].path == "guide-Q8_0.gguf"
    assert len({choice.id for choice in page.choices}) == len(page.choices)
    for wanted in ("F16", "f16"):
        found = find(page.choices, wanted)
        assert found is not None
        assert (found.files[0].path, found.runs) == ("guide-F16.gguf", True)
    assert not any(choice.runs for choice in page.choices if choice.kind != "gguf")


async def test_a_repository_of_companions_alone_has_no_best_file(
    catalog: Catalog, hub: LoopbackHub, tmp_path: Path
) -> None:
    """Alone nothing is odd about their sizes: what would be called the best is looked into."""
    for number, (name, path) in enumerate(write_companions(tmp_path / "made").items()):
        hub.add(f"pub/alone{number}", {name: path})
        page = await catalog.judge(await catalog.model_page(f"pub/alone{number}"))
        assert page.best is None
        assert [choice.kind for choice in page.choices] == [KINDS[name]]


async def test_little_is_fetched_and_that_once(catalog: Catalog, hub: LoopbackHub, repo: str) -> None:
    page = await catalog.model_page(repo)
    await catalog.judge(page)
    before = hub.total_served
    assert before < 2_500_000  # of 17 MB
    await catalog.judge(page)
    assert hub.total_served == before


def test_the_start_of_a_file_says_what_its_header_does(smollm2: Path, desk_guide: Path) -> None:
    for path in (smollm2, desk_guide):
        whole = read_header(path)
        start = start_of(path.name, path.read_bytes()[: 64 * 1024])
        assert start is not None
        assert start.architecture == whole.architecture
        assert set(start.metadata) <= set(whole.metadata)
        assert start.number("block_count") == whole.number("block_count") > 0
    for odd in (b"", b"GGUF", b"GGUF" + b"\xff" * 100, b"text" * 100):
        found = start_of("x", odd)
        assert found is None or found.metadata == {}
