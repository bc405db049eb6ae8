"""Which conversation's tokens lie in the KV cache, and who gets which place in it.

Every place ("slot") is one llama.cpp sequence. An answer that ended leaves its tokens where they are: the next turn
of the same conversation begins with them and only evaluates what is new. All slots share one pool of cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from slmdesk.engines.llama.prefix_cache import PrefixCache, common_prefix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from slmdesk.engines.llama.answer import Answer
    from slmdesk.engines.llama.prefix_cache import Kept

_WORTH_COPYING = 8  # tokens; sharing cells costs a walk over them, evaluating a token costs far more
_WORTH_KEEPING = 64  # tokens; less is evaluated again in no time
_WORTH_WAITING = 512  # tokens; less is not copied to the prefix cache while a request waits for it


class Memory(Protocol):
    """What slots need of a llama.cpp context."""

    def remove(self, sequence: int, start: int = -1) -> bool: ...
    def copy(self, source: int, target: int, end: int) -> None: ...
    def state_size(self, sequence: int) -> int: ...
    def save(self, sequence: int) -> NDArray[np.uint8] | None: ...
    def restore(self, sequence: int, state: NDArray[np.uint8]) -> bool: ...


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

    def __init__(
        self, memory: Memory, count: int, *, cuttable: bool, prefixes: PrefixCache | None = None
    ) -> None:
        self.slots = [Slot(sequence) for sequence in range(count)]
        self._memory = memory
        self._cuttable = cuttable  # the memory can be cut back to any position (no recurrent state)
        self._prefixes = prefixes if prefixes is not None else PrefixCache(0)
        self._clock = 0

    @property
    def idle_cells(self) -> int:
        """Cells held for conversations that nobody answers at the moment."""
        return sum(slot.past for slot in self.slots if slot.answer is None)

    @property
    def prefix_bytes(self) -> int:
        """What the prefix cache holds."""
        return self._prefixes.used

    def take(self, tokens: list[int], conversation: str, *, anew: bool = False) -> Slot | None:
        """Give the best idle slot to an answer that begins with `tokens`; None when all are in use.

        `anew`: everything is to be evaluated, whatever the cache holds.
        On return `slot.past` tokens of the beginning are in the cache already, always fewer than all of them:
        the last one must be evaluated to get logits.
        """
        idle = [slot for slot in self.slots if slot.answer is None]
        if not idle:
            return None
        if anew:
            slot = self._least_missed(idle, idle[0])
            self._give_up(slot)
            return self._taken(slot, tokens, 0, conversation)
        shared = {slot.sequence: self._reusable(slot, tokens) for slot in self.slots}
        best = max(self.slots, key=lambda slot: (shared[slot.sequence], slot.conversation == conversation))
        reuse = shared[best.sequence]
        kept, kept_reuse = self._prefixes.best(tokens, whole=not self._cuttable)
        if kept is not None and kept_reuse >= reuse + _WORTH_KEEPING:
            slot, reuse = self._take_from_prefixes(kept, kept_reuse, idle)
        else:
            slot, reuse = self._take_near(best, reuse, idle, conversation)
        return self._taken(slot, tokens, reuse, conversation)

    def _taken(self, slot: Slot, tokens: list[int], reuse: int, conversation: str) -> Slot:
        self._clock += 1
        slot.tokens, slot.past, slot.conversation, slot.used = tokens, reuse, conversation, self._clock
        return slot

    def _take_near(self, best: Slot, reuse: int, idle: list[Slot], conversation: str) -> tuple[Slot, int]:
        """The slot that shares most, or another one with that beginning copied into it."""
        # Another conversation that only shares the system prompt keeps its slot: that beginning is copied.
        same = conversation != "" and best.conversation == conversation
        own = best.answer is None and (same or 2 * reuse >= best.past or not self._cuttable)
        if reuse and own:
            return best, reuse if self._give_up(best, keep=reuse) else 0
        slot = self._least_missed([slot for slot in idle if slot is not best or not reuse], best)
        if slot is best:  # nowhere else to go: what it holds beyond the shared beginning is given up
            return slot, reuse if self._give_up(slot, keep=reuse) else 0
        self._give_up(slot)
        if reuse < _WORTH_COPYING or not self._cuttable:
            return slot, 0
        self._memory.copy(best.sequence, slot.sequence, reuse)
        return slot, reuse

    def _take_from_prefixes(self, kept: Kept, reuse: int, idle: list[Slot]) -> tuple[Slot, int]:
        slot = self._least_missed(idle, idle[0])
        self._prefixes.remove(
            kept
        )  # first: what the slot held goes into the prefix cache and could push this one off
        self._give_up(slot)
        while not self._memory.restore(slot.sequence, kept.state):
            if not self.evict():  # no room even so: others are using the cells
                self.forget(slot)
                self._prefixes.put(kept.tokens, kept.conversation, kept.state)
                return slot, 0
        slot.tokens, slot.past = kept.tokens, len(kept.tokens)
        return slot, reuse if self._cut(slot, reuse) else 0

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

    def evict(self, *, hurry: bool = False, spare: int = 0) -> bool:
        """Put the idle slot used least recently into the prefix cache. False when there are only `spare` or fewer.

        `hurry`: somebody waits; what is evaluated again quickly is forgotten instead.
        """
        held = [slot for slot in self.slots if slot.answer is None and slot.past]
        if len(held) <= spare:
            return False
        self._give_up(min(held, key=lambda s: s.used), _WORTH_WAITING if hurry else _WORTH_KEEPING)
        return True

    def put_aside(self, slot: Slot) -> None:
        """Empty a slot in use; its answer will take one again."""
        self._give_up(slot, _WORTH_KEEPING)

    def _give_up(self, slot: Slot, worth: int = _WORTH_WAITING, keep: int = 0) -> bool:
        """Cut a slot back to `keep` tokens; what is worth it is put aside. False: it had to be emptied."""
        if slot.past - keep >= worth and self._prefixes.has_room_for(self._memory.state_size(slot.sequence)):
            state = self._memory.save(slot.sequence)
            if state is not None:
                self._prefixes.put(slot.tokens[: slot.past], slot.conversation, state)
        return self._cut(slot, keep)

    @staticmethod
    def _least_missed(slots: list[Slot], otherwise: Slot) -> Slot:
        """An empty slot, or the one used least recently."""
        return min(slots, key=lambda slot: (slot.past > 0, slot.used), default=otherwise)

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
