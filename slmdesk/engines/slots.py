"""Which conversation's tokens lie in the KV cache, and who gets which place in it.

Every place ("slot") is one llama.cpp sequence. An answer that ended leaves its tokens where they are: the next turn
of the same conversation begins with them and only evaluates what is new. All slots share one pool of cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from slmdesk.engines.answer import Answer

_WORTH_COPYING = 8  # tokens; a shorter shared beginning is evaluated again sooner than it is looked after


class Memory(Protocol):
    """What slots need of a llama.cpp context."""

    def remove(self, sequence: int, start: int = -1) -> bool: ...
    def copy(self, source: int, target: int, end: int) -> None: ...


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence of the KV cache. `tokens[:past]` is what it holds; while in use, `tokens` is the answer's list."""

    sequence: int
    tokens: list[int] = field(default_factory=list)
    past: int = 0
    answer: Answer | None = None
    used: int = 0  # the table's clock when it was last in use
    conversation: str = ""


class SlotTable:
    """The slots of one context. Used on the worker thread only."""

    def __init__(self, memory: Memory, count: int, *, cuttable: bool) -> None:
        self.slots = [Slot(sequence) for sequence in range(count)]
        self._memory = memory
        self._cuttable = cuttable  # the memory can be cut back to any position (no recurrent state)
        self._clock = 0

    def take(self, tokens: list[int], conversation: str) -> Slot | None:
        """Give the best idle slot to an answer that begins with `tokens`; None when all are in use.

        On return `slot.past` tokens of the beginning are in the cache already, always fewer than all of them:
        the last one must be evaluated to get logits.
        """
        idle = [slot for slot in self.slots if slot.answer is None]
        if not idle:
            return None
        shared = {slot.sequence: self._reusable(slot, tokens) for slot in self.slots}
        best = max(self.slots, key=lambda slot: (shared[slot.sequence], slot.conversation == conversation))
        reuse = shared[best.sequence]
        # Another conversation that only shares the system prompt keeps its slot: that beginning is copied.
        own = best.answer is None and (
            (conversation != "" and best.conversation == conversation)
            or 2 * reuse >= best.past
            or not self._cuttable
        )
        if reuse and own:
            slot = best
            if not self._cut(slot, reuse):
                reuse = 0
        else:
            others = [s for s in idle if s is not best or not reuse]
            slot = min(others, key=lambda s: (s.past > 0, s.used), default=best)
            if slot is best:  # nowhere else to go: what it holds beyond the shared beginning is given up
                reuse = reuse if self._cut(slot, reuse) else 0
            else:
                self._cut(slot, 0)
                if reuse >= _WORTH_COPYING and self._cuttable:
                    self._memory.copy(best.sequence, slot.sequence, reuse)
                else:
                    reuse = 0
        self._clock += 1
        slot.tokens, slot.past, slot.conversation, slot.used = tokens, reuse, conversation, self._clock
        return slot

    def release(self, slot: Slot) -> None:
        """The answer ended; what the cache holds of it stays."""
        slot.answer = None
        slot.tokens = slot.tokens[: slot.past]
        self._clock += 1
        slot.used = self._clock

    def forget(self, slot: Slot) -> None:
        """Drop all the cache holds for a slot."""
        self._memory.remove(slot.sequence)
        slot.past = 0

    def rewind(self, slot: Slot) -> None:
        """Drop what an unfinished step may have written behind `slot.past`."""
        if slot.past == 0 or not self._cuttable or not self._memory.remove(slot.sequence, slot.past):
            self.forget(slot)

    def evict(self) -> bool:
        """Forget the idle slot that was used least recently. False when there is none to forget."""
        held = [slot for slot in self.slots if slot.answer is None and slot.past]
        if not held:
            return False
        slot = min(held, key=lambda s: s.used)
        self.forget(slot)
        slot.tokens = []
        return True

    def _cut(self, slot: Slot, keep: int) -> bool:
        """Cut a slot back to `keep` tokens. False: that was not possible and it is empty now."""
        if keep == slot.past:
            return True
        if keep and self._memory.remove(slot.sequence, keep):
            slot.past = keep
            return True
        self.forget(slot)
        slot.tokens = []
        return keep == 0

    def _reusable(self, slot: Slot, tokens: list[int]) -> int:
        """How many tokens of the beginning the slot could give."""
        limit = min(slot.past, len(tokens) - 1)
        shared = common_prefix(slot.tokens, tokens, limit)
        if not self._cuttable and shared < slot.past:
            return 0  # a recurrent state is only good for exactly the tokens it has seen
        return shared


def common_prefix(first: list[int], second: list[int], limit: int) -> int:
    """How many leading tokens, at most `limit`, are the same. Bisection over slices: compared in C."""
    if first[:limit] == second[:limit]:
        return limit
    low, high = 0, limit  # the first `low` are the same, the first `high` are not
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low
