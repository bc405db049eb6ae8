"""Which models an API lists, and by which names they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.library.library import LibraryFile, LibraryModel
    from slmdesk.serving.models import Models

Listed = tuple[str, "LibraryFile", "LibraryModel | None"]
"""A name, its file, and the model it belongs to in the library; a file that was given may lie outside."""


async def listed(models: Models) -> list[Listed]:
    """The library's models, then those that were given besides."""
    found: list[Listed] = [
        # A model with one file is asked for by its own id, one with several by those of its files.
        (model.id if len(model.files) == 1 else file.id, file, model)
        for model in await models.library_models()
        for file in model.files
    ]
    known = {name for name, _, _ in found}
    return [*found, *((name, file, None) for name, file in models.given.items() if name not in known)]
