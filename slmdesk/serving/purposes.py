"""What a model is for, where that decides how it is loaded and what it may be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.inference.limits import FITS
from slmdesk.inference.vectors import no_scores, no_vectors

if TYPE_CHECKING:
    from slmdesk.inference.loading import Loading, Serves
    from slmdesk.library.library import LibraryFile


def refuse_other(file: LibraryFile, serves: Serves | None) -> None:
    """Raises `model_not_chat` or `unsupported` for a file that does something else than is asked for (None: anything).

    A file that cannot run at all passes: its own problem is told elsewhere.
    """
    if serves is None or file.serves in {serves, None}:
        return
    if serves == "chat":
        assert file.problem is not None
        raise file.problem
    raise no_vectors(file.id) if serves == "embed" else no_scores(file.id)


def as_served(file: LibraryFile, loading: Loading) -> Loading:
    """The loading as this model wants it. Those for texts run on the processor, with the context of one text."""
    if file.serves not in {"embed", "rank"}:
        return loading
    longest = 0 if loading.context_length == FITS else loading.context_length
    return replace(loading, gpu_layers=0, context_length=longest)
