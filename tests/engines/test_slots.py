"""Places in the KV cache: who gets which, and that the cache's books are right."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slmdesk.engines.llama.prefix_cache import PrefixCache, common_prefix
from slmdesk.engines.llama.slots import SlotTable


class Cells:
    """Keeps the books a llama.cpp memory would: which tokens each sequence holds."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}

    def remove(self, sequence: int, start: int = -1) -> bool:
        self.held[sequence] = min(self.held.get(sequence, 0), max(start, 0))
        return True

    def state_size(self, sequence: int) -> int:
        return self.held.get(sequence, 0)

    def save(self, sequence: int) -> NDArray[np.uint8]:
        return np.zeros(self.held[sequence], np.uint8)

    def restore(self, sequence: int, state: NDArray[np.uint8]) -> bool:
        self.held[sequence] = len(state)
        return True

    def copy(self, source: int, target: int, end: int) -> None:
        assert self.held[source] >= end
        assert self.held.get(target, 0) == 0
        self.held[target] = end


def _play(table: SlotTable, cells: Cells, tokens: list[int], conversation: str = "") -> int:
    """One answer from taking a slot to leaving it: everything evaluated. Returns what was reused."""
    slot = table.take(tokens, conversation)
    assert slot is not None
    reused = slot.past
    assert cells.held.get(slot.sequence, 0) == reused < len(tokens)
    slot.past = cells.held[slot.sequence] = len(tokens)
    table.release(slot)
    return reused


def test_a_conversation_goes_on_in_its_own_slot() -> None:
    cells = Cells()
    table = SlotTable(cells, 3, cuttable=True)
    talk = list(range(50))
    assert _play(table, cells, talk, "a") == 0
    assert _play(table, cells, [900, *range(800, 840)], "b") == 0
    assert _play(table, cells, [*talk, *range(100, 110)], "a") == 50
    assert sum(1 for size in cells.held.values() if size) == 2


def test_a_shared_system_prompt_is_copied_not_taken() -> None:
    cells = Cells()
    table = SlotTable(cells, 2, cuttable=True)
    system = list(range(100))
    _play(table, cells, [*system, *range(1000, 1500)], "a")
    assert _play(table, cells, [*system, 7, 8, 9], "b") == 100
    assert _play(table, cells, [*system, *range(1000, 1500), 1], "a") == 600


def test_the_oldest_idle_slot_gives_way() -> None:
    cells = Cells()
    table = SlotTable(cells, 2, cuttable=True)
    _play(table, cells, [1] * 40, "a")
    _play(table, cells, [2] * 40, "b")
    _play(table, cells, [3] * 40, "c")
    assert _play(table, cells, [2] * 41, "b") == 40
    assert _play(table, cells, [1] * 41, "a") == 0


def test_a_recurrent_state_is_used_whole_or_not_at_all() -> None:
    cells = Cells()
    table = SlotTable(cells, 2, cuttable=False)
    _play(table, cells, [1, 2, 3, 4])
    assert _play(table, cells, [1, 2, 3, 4, 5, 6]) == 4
    assert _play(table, cells, [1, 2, 3, 9]) == 0


def test_slots_in_use_are_never_given_away() -> None:
    table = SlotTable(Cells(), 2, cuttable=True)
    taken: list[Any] = []
    for number in range(2):
        slot = table.take([number] * 5, "")
        assert slot is not None
        slot.answer = object()  # type: ignore[assignment]
        taken.append(slot.sequence)
    assert sorted(taken) == [0, 1]
    assert table.take([1] * 5, "") is None
    assert not table.evict()


def test_evict_forgets_the_least_recently_used() -> None:
    cells = Cells()
    table = SlotTable(cells, 3, cuttable=True)
    for number in (1, 2, 3):
        _play(table, cells, [number] * 10, str(number))
    _play(table, cells, [1] * 12, "1")
    assert table.evict()
    assert sorted(cells.held.values()) == [0, 10, 12]
    assert _play(table, cells, [3] * 11, "3") == 10


def test_what_leaves_the_cells_comes_back_from_the_prefix_cache() -> None:
    cells = Cells()
    prefixes = PrefixCache(2000)
    table = SlotTable(cells, 1, cuttable=True, prefixes=prefixes)
    talk = list(range(600))
    _play(table, cells, talk, "a")
    _play(table, cells, [7] * 700, "b")
    assert len(prefixes) == 1
    assert _play(table, cells, [*talk, 1, 2], "a") == 600
    assert _play(table, cells, [7] * 701, "b") == 700
    assert len(prefixes) == 1


def test_the_prefix_cache_keeps_to_its_room() -> None:
    prefixes = PrefixCache(250)
    for number in range(5):
        prefixes.put([number] * 100, "", np.zeros(100, np.uint8))
    assert len(prefixes) == 2
    assert prefixes.best([4] * 200, whole=True)[1] == 100
    assert prefixes.best([0] * 200, whole=True) == (None, 0)
    assert not prefixes.has_room_for(251)


def test_a_longer_state_of_a_conversation_replaces_the_shorter() -> None:
    prefixes = PrefixCache(10**6)
    prefixes.put(list(range(100)), "a", np.zeros(100, np.uint8))
    prefixes.put(list(range(200)), "a", np.zeros(200, np.uint8))
    assert len(prefixes) == 1
    assert prefixes.best(list(range(300)), whole=False)[1] == 200


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), max_size=25),
    st.integers(1, 4),
    st.booleans(),
)
def test_books_and_cache_agree_whatever_comes(prompts: list[list[int]], count: int, cuttable: bool) -> None:
    cells = Cells()
    table = SlotTable(cells, count, cuttable=cuttable, prefixes=PrefixCache(1000))
    for prompt in prompts:
        _play(table, cells, prompt * 100)
        for slot in table.slots:
            assert cells.held.get(slot.sequence, 0) == slot.past == len(slot.tokens)


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=30))
def test_common_prefix(first: list[int], second: list[int]) -> None:
    limit = min(len(first), len(second))
    expected = next((n for n in range(limit) if first[n] != second[n]), limit)
    assert common_prefix(first, second, limit) == expected
