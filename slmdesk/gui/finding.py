"""What the palette finds beside actions: conversations to open, and models to chat with."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.actions import Action, match_score

if TYPE_CHECKING:
    import asyncio

    from slmdesk.gui.palette import Palette
    from slmdesk.gui.window import MainWindow

MOST = 6
"""Of each kind, so that a common word does not bury the actions."""


class Finder:
    """Looks for what was typed into the palette. A further letter ends the search before it."""

    def __init__(self, window: MainWindow, palette: Palette) -> None:
        self._window = window
        self._palette = palette
        self._looking: asyncio.Task[Any] | None = None
        palette.typed.connect(self._look)

    def _look(self, words: str) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if words.strip() and self._window.has_application:
            self._looking = self._window.run(self._find(words), "looking for what was typed")

    async def _find(self, words: str) -> None:
        try:
            found = [*await self._models(words), *await self._conversations(words)]
        except SlmDeskError:
            return  # a disk or database that cannot be read is told where it belongs; the actions stay
        self._palette.add(words, found)

    async def _conversations(self, words: str) -> list[Action]:
        visit = self._window.visit
        summaries = await self._window.application.chats.conversations(words, MOST)
        return [
            Action(
                f"chat.open.{one.id}",
                one.title or "New chat",
                partial(visit.conversation, one.id),
                icon="chat",
            )
            for one in summaries
        ]

    async def _models(self, words: str) -> list[Action]:
        models = await self._window.application.library.models()
        scored: list[tuple[int, str, str]] = []
        for model in models:
            for file in model.files:
                title = f"Chat with {model.name} {file.label}"
                score = None if file.problem is not None else match_score(words, title)
                if score is not None and _holds(title, file.id, words):
                    scored.append((-score, title, file.id))
        return [
            Action(f"chat.with.{ref}", title, partial(self._window.visit.chat_with, ref), icon="model")
            for _, title, ref in sorted(scored)[:MOST]
        ]


def _holds(title: str, ref: str, words: str) -> bool:
    """Letters scattered over a name are enough for an action, of which there are few, not for a model."""
    name = f"{title} {ref}".casefold()
    return all(word in name for word in words.casefold().split())
