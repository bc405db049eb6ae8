"""What is wanted of a model besides the question: how it is loaded, and what a question leaves open.

For a created model its own values go first, then what is kept for the file, then the settings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.memory.fit import loading_of
from slmdesk.serving.defaults import Defaults
from slmdesk.serving.purposes import as_served

if TYPE_CHECKING:
    from slmdesk.core.settings import Settings
    from slmdesk.inference.loading import Loading
    from slmdesk.inference.model_settings import ModelSettings
    from slmdesk.library.created import CreatedModel
    from slmdesk.library.library import Library, LibraryFile
    from slmdesk.serving.slot import ModelSlot


class Wishes:
    """Of one service. `for_many`: models are loaded with a context for each answer at once."""

    def __init__(self, library: Library, settings: Settings, *, for_many: bool) -> None:
        self._library = library
        self._settings = settings
        self._for_many = for_many

    def loading(
        self, file: LibraryFile, created: CreatedModel | None = None, context_length: int = 0
    ) -> Loading:
        """How a file is loaded: what a request asks for, what is kept for the model, what the settings say."""
        kept = self._library.kept.of(file)
        wanted = _over(created, kept.effective)
        loading = loading_of(self._settings, context=context_length, kept=wanted)
        return replace(
            as_served(file, loading),
            contexts=loading.parallel if self._for_many else 1,
            template=(created.template if created is not None else "") or kept.template,
            adapters=(*kept.loaded_with, *(created.adapters if created is not None else ())),
        )

    def stay(self, slot: ModelSlot, created: CreatedModel | None) -> tuple[bool, float | None]:
        """Whether a person pinned it, and the seconds it stays without use; None: as the setting says."""
        wanted = _over(created, self._library.kept.of(slot.file).effective)
        minutes = wanted.idle_minutes
        return bool(wanted.pinned), None if minutes is None else 60.0 * minutes or math.inf

    def defaults(self, slot: ModelSlot, created: CreatedModel | None) -> Defaults:
        """What fills a question that is answered by this slot."""
        wanted = _over(created, self._library.kept.of(slot.file).effective)
        begin = created.messages if created is not None else ()
        return Defaults.of(self._settings, wanted, slot.recommended, begin)


def _over(created: CreatedModel | None, kept: ModelSettings) -> ModelSettings:
    return kept if created is None else created.settings.over(kept)
