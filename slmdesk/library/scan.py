"""Finding the models below a folder: `<publisher>/<name>/<files>`, and what people put there otherwise."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import sidecar
from slmdesk.library.names import model_of, quant_in, split_part
from slmdesk.library.records import FileState, LibraryFile, LibraryModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slmdesk.library.index import Facts, Index

_DEPTH = 6  # folders below a models folder that are looked into


def gguf_files(folder: Path, depth: int = _DEPTH) -> list[Path]:
    """All GGUF files at most `depth` folders below one, without hidden ones.

    Raises `OSError` when the folder itself cannot be listed.
    """
    found: list[Path] = []
    os.scandir(folder).close()  # os.walk would say nothing
    seen: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        try:
            status = Path(here).stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen or len(Path(here).relative_to(folder).parts) >= depth:
            folders.clear()
        # Windows before 3.12 gives no inode for some file systems; the depth bounds those.
        if status.st_ino:
            seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(here, name) for name in sorted(files) if _is_model_file(name)]
    return found


def models_below(folder: Path, paths: Iterable[Path], index: Index) -> list[LibraryModel]:
    """The models these files make. Reads the headers that the index does not know."""
    facts: dict[Path, Facts] = {}
    for path in paths:
        split = split_part(path.stem)
        try:
            facts[path] = index.facts(path, whole=split is None or split[1] == 1)
        except OSError:
            continue  # gone since the folder was listed
    return group(folder, facts)


def group(
    folder: Path, facts: Mapping[Path, Facts], missing: SlmDeskError | None = None
) -> list[LibraryModel]:
    """Models from what is known of their files. `missing` is the problem of a folder that is not there."""
    by_model: dict[tuple[str, str], list[LibraryFile]] = {}
    origins: dict[Path, dict[str, sidecar.Origin]] = {}
    for parts in _together(facts):
        known = {part: facts[part] for part in parts}
        if known[parts[0]].kind != "model":
            continue
        publisher, name = model_of(parts[0].relative_to(folder))
        if missing is None and parts[0].parent not in origins:
            origins[parts[0].parent] = sidecar.read(parts[0].parent)
        file = make_file("", known, origins.get(parts[0].parent, {}))
        if missing is not None:
            file = replace(file, problem=missing)
        by_model.setdefault((publisher, name), []).append(file)
    return [model_with(publisher, name, files) for (publisher, name), files in by_model.items()]


def model_with(publisher: str, name: str, files: list[LibraryFile]) -> LibraryModel:
    """A model of these files, each with its id."""
    return LibraryModel(f"{publisher}/{name}", name, publisher, tuple(with_ids(f"{publisher}/{name}", files)))


def with_ids(model_id: str, files: list[LibraryFile]) -> list[LibraryFile]:
    """Ids by quant; a second file of the same quant has the quant its name tells, or its name."""
    taken: set[str] = set()
    done: list[LibraryFile] = []
    for file in files:
        choices = [f"{model_id}:{quant}" for quant in (file.quant, quant_in(file.path.stem)) if quant]
        choices.append(f"{model_id}/{file.path.name}")
        chosen = next((choice for choice in choices if choice not in taken), str(file.path))
        taken.add(chosen)
        done.append(replace(file, id=chosen))
    return done


def make_file(
    identity: str, facts: Mapping[Path, Facts], origins: Mapping[str, sidecar.Origin]
) -> LibraryFile:
    """The library's view of one file, or of all parts of a split one (the first part first)."""
    parts = tuple(facts)
    first = facts[parts[0]]
    problem = next((known.problem for known in facts.values() if known.error), None)
    state, problem = _state(facts, origins, problem)
    origin = origins.get(parts[0].name, sidecar.Origin())
    return LibraryFile(
        id=identity,
        path=parts[0],
        size_bytes=sum(known.size for known in facts.values()),
        quant=first.quant or quant_in(parts[0].stem),
        architecture=first.architecture,
        parameters=sum(known.parameters for known in facts.values()),
        context_length=first.context_length,
        state=state,
        problem=problem,
        parts=parts,
        licence=origin.licence or first.licence,
    )


def _state(
    facts: Mapping[Path, Facts], origins: Mapping[str, sidecar.Origin], problem: SlmDeskError | None
) -> tuple[FileState, SlmDeskError | None]:
    first = next(iter(facts))
    split = split_part(first.stem)
    if split is not None:
        there = {number[1] for path in facts if (number := split_part(path.stem))}
        absent = [number for number in range(1, min(split[2], 9999) + 1) if number not in there]
        if absent:
            listed = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
            return "partial", SlmDeskError(
                "model_parts_missing",
                f"{first.name} is one of {split[2]} parts; missing: {listed}.",
                "Put the missing parts into the same folder, or download the model again.",
            )
    if problem is not None:
        return "damaged", problem
    known = [origins.get(path.name, sidecar.Origin()) for path in facts]
    for path, origin in zip(facts, known, strict=True):
        size = facts[path].size
        if origin.size not in {-1, size}:
            return ("partial" if size < origin.size else "damaged"), SlmDeskError(
                "file_size_wrong",
                f"{path.name} has {size} bytes; {origin.size} were downloaded.",
                "Download it again.",
            )
    states = {origin.state for origin in known}
    # A split file is as good as its worst part.
    order: tuple[FileState, ...] = ("damaged", "partial", "changed upstream", "unverified", "verified")
    return next(state for state in order if state in states), None


def _together(facts: Mapping[Path, Facts]) -> list[list[Path]]:
    """Each file by itself, the parts of a split one together and in order."""
    groups: dict[object, list[tuple[int, Path]]] = {}
    for path in facts:
        split = split_part(path.stem)
        key = (path.parent, split[0], split[2]) if split else path
        groups.setdefault(key, []).append((split[1] if split else 0, path))
    return [[path for _, path in sorted(parts)] for parts in groups.values()]


def _is_model_file(name: str) -> bool:
    return name.lower().endswith(".gguf") and not name.startswith(".")
