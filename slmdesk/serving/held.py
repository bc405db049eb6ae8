"""A model's engine as a request holds it, through faults of native code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slmdesk.inference.engines import Engine
    from slmdesk.serving.defaults import Defaults
    from slmdesk.serving.slot import ModelSlot


class Held:
    """Given out by `Models.use`. `engine` is another one after `again`; `defaults` fill what a request leaves open."""

    def __init__(
        self,
        slot: ModelSlot,
        engine: Engine,
        told: int,
        take_over: Callable[[Engine], Awaitable[Engine]],
        defaults: Defaults,
    ) -> None:
        self.engine = engine
        self.defaults = defaults
        self._slot = slot
        self._told = told
        self._take_over = take_over

    @property
    def model(self) -> str:
        """The id of the model that answers, whatever name it was asked for by."""
        return self._slot.id

    def keep_for(self, seconds: float | None) -> None:
        """How long the model stays loaded without use from now on; None: as the setting says."""
        self._slot.keep_s = seconds

    def pin(self, pinned: bool) -> None:
        """Whether the model stays loaded, also when others need room. One given on the command line always does."""
        self._slot.pinned = pinned

    async def again(self) -> None:
        """The engine died of a `NativeFaultError`: take the one that was started a step safer.

        All who held the old one share it. Raises the decoded fault where no step is left, and what a load may raise.
        """
        self.engine = await self._take_over(self.engine)

    def news(self) -> str:
        """What was changed since the last call, in a sentence for a person; mostly empty."""
        text = self._slot.stepping.news(self._told)
        self._told = self._slot.stepping.told
        return text

    async def completed(self) -> None:
        """An answer of this engine is complete."""
        if self._slot.engine is self.engine:
            await self._slot.stepping.worked()
