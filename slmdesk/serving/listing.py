"""Which models an API lists, and by which names they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.library.created import CreatedModel
    from slmdesk.library.library import LibraryFile, LibraryModel
    from slmdesk.serving.models import Models


class Listed(NamedTuple):
    """A name, its file, and the model it belongs to in the library; a file that was given may lie outside.

    `created`: the created model whose name it is; the file is then its base's.
    """

    name: str
    file: LibraryFile
    model: LibraryModel | None = None
    created: CreatedModel | None = None


async def listed(models: Models) -> list[Listed]:
    """The library's models, then those that were given besides, then the created ones whose base is there."""
    found = [
        # A model with one file is asked for by its own id, one with several by those of its files.
        Listed(model.id if len(model.files) == 1 else file.id, file, model)
        for model in await models.library_models()
        for file in model.files
    ]
    known = {entry.name for entry in found}
    found += [Listed(name, file) for name, file in models.given.items() if name not in known]
    for created in await models.names.all_created():
        try:
            file = await models.find(created.name, trusted=False)
        except SlmDeskError:
            continue
        found.append(Listed(created.name, file, None, created))
    return found
