"""From what a person typed to one file of the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.quants import PREFERRED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.library.records import LibraryFile, LibraryModel


def find(models: Sequence[LibraryModel], ref: str) -> LibraryFile:
    """The file `ref` means: an id, an id with a quant, `publisher/name/FILE`, or a model's name alone.

    Capitals matter only where they alone tell two apart.
    Raises `SlmDeskError("model_not_found")` or `SlmDeskError("model_ambiguous")`.
    """
    named = _of_name(models, ref)
    if named:
        return _only(named, ref)
    quant = ref.casefold().partition(":")[2]
    found = _models_of_name(models, ref.partition(":")[0])
    if len(found) > 1:
        raise _ambiguous(ref, "models", (model.id for model in found))
    if not found:
        raise _not_found(models, ref)
    model = found[0]
    if not quant:
        return preferred(model.files)
    same = [file for file in model.files if file.quant.casefold() == quant]
    if not same:
        raise SlmDeskError(
            "model_not_found",
            f"{model.id} is here, but not as {ref.partition(':')[2]}.",
            f"Here are: {_listed(file.id for file in model.files)}.",
        )
    return _only(same, ref)  # one whose own id it is was found above


def with_id(models: Iterable[LibraryModel], ref: str) -> LibraryFile | None:
    """The file whose listed id this is, letter by letter."""
    return next((file for model in models for file in model.files if file.id == ref), None)


def _of_name(models: Sequence[LibraryModel], ref: str) -> list[LibraryFile]:
    """The files of this id, or else of this `publisher/name/FILE`; the exact ones before those in other letters."""
    wanted = ref.casefold()
    by_id, by_name = [], []
    for model in models:
        for file in model.files:
            if file.id == ref:
                return [file]
            if file.id.casefold() == wanted:
                by_id.append(file)
            if f"{model.id}/{file.name}".casefold() == wanted:
                by_name.append((f"{model.id}/{file.name}" == ref, file))
    exact = [file for same, file in by_name if same]
    return by_id or exact or [file for _, file in by_name]


def _models_of_name(models: Sequence[LibraryModel], ref: str) -> list[LibraryModel]:
    """The models of this id, or else of this name alone."""
    name = ref.casefold()
    found = [model for model in models if model.id == ref]
    found = found or [model for model in models if model.id.casefold() == name]
    return found or [m for m in models if name in {m.name.casefold(), m.id.partition("/")[2].casefold()}]


def _only(files: Sequence[LibraryFile], ref: str) -> LibraryFile:
    if len(files) > 1:
        raise _ambiguous(ref, "files", (file.id for file in files))
    return files[0]


def _ambiguous(ref: str, what: str, ids: Iterable[str]) -> SlmDeskError:
    return SlmDeskError("model_ambiguous", f"{ref!r} may mean several {what}.", f"Say which: {_listed(ids)}.")


def preferred(files: Iterable[LibraryFile]) -> LibraryFile:
    """The file to run when several would do: one without a problem, of the quant that suits most people."""

    def order(file: LibraryFile) -> tuple[bool, bool, int, int]:
        place = PREFERRED.index(file.quant) if file.quant in PREFERRED else len(PREFERRED)
        return not file.runs, file.problem is not None, place, -file.size_bytes

    return min(files, key=order)


def _not_found(models: Sequence[LibraryModel], ref: str) -> SlmDeskError:
    import difflib

    names: dict[str, str] = {}
    for model in models:
        names |= {model.id.casefold(): model.id, model.id.partition("/")[2].casefold(): model.id}
        names |= {file.id.casefold(): file.id for file in model.files}
    near = difflib.get_close_matches(ref.casefold(), names, n=3, cutoff=0.5)
    near += [name for name in names if ref and ref.casefold() in name and name not in near][:3]
    close = list(dict.fromkeys(names[name] for name in near))
    elsewhere = "Look at the list of models on this machine."
    hint = f"Did you mean {_listed(close)}?" if close else elsewhere
    return SlmDeskError("model_not_found", f"There is no model {ref!r} on this machine.", hint)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:8])
