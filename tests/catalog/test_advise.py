"""Help me choose: never more than fits, and answers that change the list."""

from __future__ import annotations

import pytest

from slmdesk.catalog.advise import PRIORITIES, USES, Preferences, advise
from slmdesk.catalog.catalog import Catalog
from slmdesk.catalog.known import KnownModels
from slmdesk.core.paths import resources_folder
from slmdesk.memory.offload import DeviceRoom

GB = 1_000_000_000


@pytest.fixture(scope="module")
def known() -> KnownModels:
    return KnownModels(resources_folder() / "catalog")


@pytest.mark.parametrize("free", [1, 3, 12])
def test_never_one_that_exceeds_memory(known: KnownModels, free: int) -> None:
    for use, priority in zip(USES, (*PRIORITIES, *PRIORITIES), strict=False):
        for one in advise(known, Preferences(use, priority, ("de",)), available=free * GB, most=100):
            assert one.fit.forecast.total_bytes <= free * GB
            assert one.fit.verdict != "too_big"
            assert one.repo in one.model.repos.gguf
            assert one.reasons
            assert "de" in one.model.languages or "mul" in one.model.languages
    if free >= 3:
        assert advise(known, Preferences(), available=free * GB)


def test_nothing_is_advised_without_memory(known: KnownModels) -> None:
    assert advise(known, Preferences(), available=100_000_000) == []


def test_the_answers_decide(known: KnownModels) -> None:
    def first(use: str, priority: str, free: int = 16) -> list[object]:
        return [one.model for one in advise(known, Preferences(use, priority), available=free * GB)]  # type: ignore[arg-type]

    assert all("code" in model.strengths for model in first("code", "balanced")[:2])  # type: ignore[attr-defined]
    assert "reasoning" in first("reasoning", "quality")[0].strengths  # type: ignore[attr-defined]
    quick, good = first("chat", "speed"), first("chat", "quality")
    assert sum(m.parameters for m in quick) < sum(m.parameters for m in good)  # type: ignore[attr-defined]
    publishers = [model.publisher for model in first("chat", "balanced")]  # type: ignore[attr-defined]
    assert len(set(publishers)) >= 3


async def test_on_this_machine(catalog: Catalog) -> None:
    listed = await catalog.advise(Preferences("chat", "speed"))
    assert listed
    assert [one.score for one in listed] == sorted((one.score for one in listed), reverse=True) or len(
        listed
    ) == 5


def test_a_model_too_slow_for_the_processor_comes_later(known: KnownModels) -> None:
    def largest(cores: int) -> int:
        found = advise(known, Preferences("chat", "balanced"), available=24 * GB, cores=cores)
        return max(one.weights_bytes for one in found)

    assert largest(2) < largest(0)
    slow = advise(known, Preferences("chat", "quality"), available=24 * GB, cores=1, most=100)
    assert any("Slow on this processor" in reason for one in slow for reason in one.reasons)


def test_a_graphics_card_makes_room_and_is_quick(known: KnownModels) -> None:
    room = DeviceRoom("GPU0", 15 * GB, 16 * GB)
    alone = advise(known, Preferences("chat", "quality"), available=4 * GB, cores=2, most=100)
    beside = advise(known, Preferences("chat", "quality"), available=4 * GB, cores=2, most=100, room=room)
    assert max(one.weights_bytes for one in beside) > 1.5 * max(one.weights_bytes for one in alone)
    for one in beside:
        assert one.fit.split is not None
        assert one.fit.split.device.total_bytes <= room.usable_bytes
        assert one.fit.memory_bytes <= 4 * GB
        if one.fit.split.whole:
            assert not any("Slow on this processor" in reason for reason in one.reasons)
        assert any("The graphics card takes" in reason for reason in one.reasons)
