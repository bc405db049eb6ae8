"""Asking two quants the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import asyncio

    from slmdesk.gui.page import WindowServices
    from slmdesk.quantize.room import Compared

MOST_TOKENS = 128


class CompareView(Protocol):
    """What the controller shows."""

    def show_asking(self, *, on: bool) -> None: ...
    def show_who_answers(self, name: str) -> None: ...
    def show_compared(self, found: Compared) -> None: ...
    def show_problem(self, error: SlmDeskError) -> None: ...


class CompareController:
    """One question at a time."""

    def __init__(self, services: WindowServices, view: CompareView) -> None:
        self._services = services
        self._view = view
        self._task: asyncio.Task[None] | None = None

    def ask(self, first: str, second: str, prompt: str) -> None:
        """Ask the files at two paths, one after the other, each always taking its likeliest token."""
        self.stop()
        self._task = self._services.run(self._ask(first, second, prompt), "comparing two quants")

    def stop(self) -> None:
        """End what is being answered."""
        if self._task is not None and not self._task.done():
            self._task.cancel()

    async def _ask(self, first: str, second: str, prompt: str) -> None:
        self._view.show_asking(on=True)
        try:
            found = await self._services.application.quantizing.compare(
                first, second, prompt, most_tokens=MOST_TOKENS, on_progress=self._tell_progress
            )
            self._view.show_compared(found)
        except SlmDeskError as error:
            self._view.show_problem(error)
        finally:
            self._view.show_asking(on=False)

    def _tell_progress(self, event: dict[str, Any]) -> None:
        if event.get("detail"):
            self._view.show_who_answers(str(event["detail"]))
