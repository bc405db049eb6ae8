"""What the service holds in memory, as the window knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from slmdesk.core import amounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.serving.entries import LoadedModel


class LoadedWatch(QObject):
    """Kept true by the status poll.

    Attributes:
        models: those that load, are loaded, or could not be.

    Signals:
        changed: `models` is another list.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.models: tuple[LoadedModel, ...] = ()

    def take(self, models: Sequence[LoadedModel]) -> None:
        """What the service told just now."""
        if tuple(models) != self.models:
            self.models = tuple(models)
            self.changed.emit()

    def get(self, file_id: str) -> LoadedModel | None:
        """The one that runs this file of the library, or loads it."""
        return next(
            (one for one in self.models if one.state != "failed" and file_id in {one.id, *one.names}), None
        )


def memory_words(model: LoadedModel) -> str:
    """ "190 MB, since today, 14:05, with a context of 8,192 tokens"."""
    if model.state == "loading":
        return f"loading, {model.progress:.0%}"
    parts = [amounts.size(model.memory_bytes)]
    if model.prefix_bytes:
        parts[0] += f" ({amounts.size(model.prefix_bytes)} of it for earlier conversations)"
    if model.loaded_at:
        parts.append(f"since {amounts.moment(model.loaded_at)}")
    if model.context_length:
        parts.append(f"with a context of {model.context_length:,} tokens")
    return ", ".join(parts)
