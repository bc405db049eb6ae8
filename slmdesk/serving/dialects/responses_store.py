"""Answers of the Responses API that a later request may go on from."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.inference.wire import encoded

if TYPE_CHECKING:
    from slmdesk.inference.asks import Turn

_MOST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """A response as it was told, and the conversation up to its end."""

    response: dict[str, Any]
    turns: tuple[Turn, ...]
    size: int


class ResponseStore:
    """The newest responses, in memory: they go when the service ends, and the oldest when there are many."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, KeptResponse] = OrderedDict()
        self._size = 0

    def put(self, response: dict[str, Any], turns: tuple[Turn, ...]) -> None:
        """Keep one under its id."""
        kept = KeptResponse(response, turns, len(encoded(turns)))
        self._kept[str(response["id"])] = kept
        self._size += kept.size
        while self._size > _MOST_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size

    def find(self, response_id: str) -> KeptResponse | None:
        """The one with this id."""
        return self._kept.get(response_id)

    def remove(self, response_id: str) -> bool:
        """Forget one. False: there is none with this id."""
        kept = self._kept.pop(response_id, None)
        if kept is not None:
            self._size -= kept.size
        return kept is not None
