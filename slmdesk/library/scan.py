"""From the files below a folder to the models they make: `<publisher>/<name>/<files>`, and what people do otherwise."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import folder_models, walk
from slmdesk.library.index import HeaderFacts
from slmdesk.library.names import model_of, quant_in, safe_name, split_part
from slmdesk.library.records import FileFormat, FileState, LibraryFile, LibraryModel
from slmdesk.library.sidecar import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slmdesk.formats.purpose import Purpose
    from slmdesk.library.index import Index
    from slmdesk.library.walk import Folder

_UNKNOWN = Origin()
_TIME_SLACK_NS = 2_100_000_000  # FAT keeps times to two seconds
_WORST_FIRST: tuple[FileState, ...] = ("damaged", "partial", "changed upstream", "unverified", "verified")


class Item(NamedTuple):
    """One file (or folder) that is, or is part of, a library file. `name` is what the sidecar calls it."""

    name: str
    path: Path
    facts: HeaderFacts
    origin: Origin = _UNKNOWN
    in_place: bool = False
    problem: SlmDeskError | None = None


Sidecars = dict[str, "Mapping[str, Origin]"]


def below(root: Path, index: Index, depth: int = walk.DEPTH) -> list[LibraryModel]:
    """The models below a folder. Reads the headers that the index does not know. Raises `OSError`."""
    folders = walk.folders(root, depth)
    sidecars: Sidecars = {
        folder.path: index.sidecar(folder.path, folder.sidecar.size, folder.sidecar.time_ns)
        for folder in folders
        if folder.sidecar is not None
    }
    paths = {folder.path: [Path(folder.path, seen.name) for seen in folder.gguf] for folder in folders}
    index.read_ahead(
        [
            (path, size, time_ns, _whole(name))
            for folder in folders
            for path, (name, size, time_ns) in zip(paths[folder.path], folder.gguf, strict=True)
        ]
    )
    seen: set[str] = set()
    items: list[tuple[tuple[str, ...], Item]] = []
    for folder in folders:
        for item in _of_folder(folder, paths[folder.path], sidecars, str(root), index):
            items.append((folder.parts, item))
            seen.add(str(item.path))
    index.keep_only(seen, set(sidecars), root)
    return _models(root, items)


def remembered(root: Path, index: Index, missing: SlmDeskError) -> list[LibraryModel]:
    """The models that were below a folder when it was there, each with the problem `missing`."""
    facts, sidecars = index.below(root)
    items: list[tuple[tuple[str, ...], Item]] = []
    for path, known in facts.items():
        where = Path(path)
        above = where if known.format != "gguf" else where.parent
        origin = _origin(str(above), where.name if known.format == "gguf" else "", sidecars, str(root))
        items.append((above.relative_to(root).parts, Item(where.name, where, known, origin, problem=missing)))
    for place, origins in sidecars.items():
        parts = Path(place).relative_to(root).parts
        for name, origin in origins.items():
            if origin.path:
                known = index.remembered(origin.path) or HeaderFacts(max(origin.size, 0), 0)
                items.append((parts, Item(name, Path(origin.path), known, origin, True, missing)))
    return _models(root, items)


def model_with(publisher: str, name: str, files: list[LibraryFile]) -> LibraryModel:
    """A model of these files, each with its id."""
    return LibraryModel(f"{publisher}/{name}", name, publisher, tuple(with_ids(f"{publisher}/{name}", files)))


def with_ids(model_id: str, files: list[LibraryFile]) -> list[LibraryFile]:
    """Ids by quant; a second file of the same quant has the quant its name tells, its name, or its name and place.

    No two ids differ in capitals only. What nobody chats with comes last: a quant's id is the model's.
    """
    taken: set[str] = set()
    done: list[LibraryFile] = []
    for file in sorted(files, key=_is_no_chat_model):
        chosen = next(
            one for tag in _tags(file) if tag and (one := f"{model_id}:{tag}").casefold() not in taken
        )
        taken.add(chosen.casefold())
        done.append(file if file.id == chosen else replace(file, id=chosen))
    return done


def _is_no_chat_model(file: LibraryFile) -> bool:
    return file.problem is not None and file.problem.code == "model_not_chat"


def _tags(file: LibraryFile) -> Iterable[str]:
    """What may follow the model's id, the likely first and in the end one that is this file's alone."""
    yield file.quant
    stem = _stem(file.name)
    yield quant_in(stem)
    stem = safe_name(stem).lstrip(".")
    yield stem
    if file.home is not None and file.home in file.path.parents:
        yield "-".join((*map(safe_name, file.path.parent.relative_to(file.home).parts), stem))
    digest = hashlib.sha256(os.fsencode(file.path)).hexdigest()
    for length in range(6, len(digest)):
        yield f"{stem}~{digest[:length]}"


def make_file(items: Sequence[Item], home: Path | None = None, model_id: str = "") -> LibraryFile:
    """The library's view of one file, or of all parts of a split one (the first part first).

    Its id is the likely one in this model; `with_ids` sees to the rest.
    """
    head = items[0]
    first = head.facts
    if first.format == "gguf":
        parts = tuple(item.path for item in items)
    else:
        parts = tuple(Path(head.path, seen.name) for seen in _files_of(head.path))
    problem = next((item.problem for item in items if item.problem), None)
    problem = problem or next((known for item in items if (known := item.facts.problem)), None)
    state, problem = _state(items, problem)
    quant = next((item.facts.quant for item in items if item.facts.quant), "") or quant_in(_stem(head.name))
    return LibraryFile(
        id=f"{model_id}:{quant}",
        path=head.path,
        size_bytes=sum(item.facts.size for item in items),
        quant=quant,
        architecture=first.architecture,
        parameters=sum(item.facts.parameters for item in items),
        context_length=first.context_length,
        state=state,
        problem=problem,
        parts=parts,
        licence=head.origin.licence or first.licence,
        format=cast("FileFormat", first.format),
        name=head.name,
        in_place=head.in_place,
        origins=tuple(item.origin for item in items),
        home=home,
        purpose=cast("Purpose", first.purpose),
    )


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _of_folder(
    folder: Folder, paths: Sequence[Path], sidecars: Sidecars, root: str, index: Index
) -> Iterable[Item]:
    for path, (name, size, time_ns) in zip(paths, folder.gguf, strict=True):
        facts = index.known(path, size, time_ns, whole=_whole(name))
        yield Item(name, path, facts, _origin(folder.path, name, sidecars, root))
    if folder.weights:
        origin = _of_all(folder, sidecars, root)
        yield Item(Path(folder.path).name, Path(folder.path), _weights(folder, index), origin)
    for name, origin in sidecars.get(folder.path, {}).items():
        if origin.path:
            yield _in_place(name, origin, index)


def _whole(name: str) -> bool:
    """Whether a GGUF file of this name tells of the model: the later parts of a split one hold weights only."""
    split = split_part(name[:-5]) if "-of-" in name else None
    return split is None or split[1] == 1


def _in_place(name: str, origin: Origin, index: Index) -> Item:
    """A file or folder elsewhere that a sidecar tells of."""
    path = Path(origin.path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            facts = _weights(walk.one(path), index)
            if facts.format != "gguf":
                return Item(name, path, facts, origin, in_place=True)
            raise FileNotFoundError(path)
        whole = _whole(f"{path.stem}.gguf")
        facts = index.known(path, status.st_size, status.st_mtime_ns, whole=whole)
        return Item(name, path, facts, origin, in_place=True)
    except OSError:
        gone = SlmDeskError(
            "import_missing",
            f"{path} is used where it lies, and is not there any more.",
            "Connect its disk, import it again, or remove it from the library.",
        )
        facts = index.remembered(str(path)) or HeaderFacts(max(origin.size, 0), 0)
        return Item(name, path, facts, origin, in_place=True, problem=gone)


def _weights(folder: Folder, index: Index) -> HeaderFacts:
    if not folder.weights:
        return HeaderFacts(0, 0)
    size, time_ns = folder_models.size_and_time(folder)
    return index.look(folder.path, size, time_ns, partial(folder_models.read, folder))


def _files_of(folder: Path) -> list[walk.Seen]:
    try:
        return walk.one(folder).files
    except OSError:
        return []


def _origin(folder: str, name: str, sidecars: Sidecars, root: str) -> Origin:
    """The entry of a file, in its own folder's sidecar or in that of a folder above (named by the path below it)."""
    own = sidecars.get(folder)
    if own is not None and (found := own.get(name)) is not None:
        return found
    if not sidecars or len(folder) <= len(root):
        return _UNKNOWN
    above, _, last = folder.rpartition(os.sep)
    return _origin(above, f"{last}/{name}" if name else last, sidecars, root)


def _of_all(folder: Folder, sidecars: Sidecars, root: str) -> Origin:
    """One entry that stands for all files of a folder: as good as the worst weights file in it."""
    weights = [
        seen for seen in folder.files if seen.name.lower().endswith(("." + folder.weights, ".onnx_data"))
    ]
    entries = [(_origin(folder.path, seen.name, sidecars, root), seen) for seen in weights]
    known = [origin for origin, _ in entries if origin is not _UNKNOWN]
    if not known:
        return _UNKNOWN
    states = {_known_state(origin, seen.size, seen.time_ns)[0] for origin, seen in entries}
    state = next(state for state in _WORST_FIRST if state in states)
    return replace(known[0], state=state, size=-1, sha256="", modified_ns=0)


def _models(root: Path, items: Iterable[tuple[tuple[str, ...], Item]]) -> list[LibraryModel]:
    by_model: dict[tuple[str, str], list[LibraryFile]] = {}
    beside: dict[tuple[str, str], list[LibraryFile]] = {}
    homes: dict[tuple[str, ...], Path] = {}
    for parts, together in _together(items):
        head = together[0]
        is_file = head.facts.format == "gguf"
        place = model_of((*parts, head.name) if is_file else (*(parts or (head.name,)), ""))
        home = homes.get(parts) or homes.setdefault(parts, root.joinpath(*parts[:2]))
        # What goes with a model is listed, as what it is, only where its model is not there.
        kept = by_model if head.facts.kind == "model" else beside
        kept.setdefault(place, []).append(make_file(together, home, "/".join(place)))
    return [model_with(publisher, name, files) for (publisher, name), files in {**beside, **by_model}.items()]


def _together(
    items: Iterable[tuple[tuple[str, ...], Item]],
) -> Iterable[tuple[tuple[str, ...], list[Item]]]:
    """Each file by itself, the parts of a split one together and in order."""
    groups: dict[object, tuple[tuple[str, ...], list[tuple[int, Item]]]] = {}
    for parts, item in items:
        split = split_part(item.name[:-5]) if "-of-" in item.name else None
        if split is None:
            groups[len(groups)] = (parts, [(0, item)])
        else:
            group = groups.setdefault((parts, split[0], split[2], item.path.parent), (parts, []))
            group[1].append((split[1], item))
    for parts, numbered in groups.values():
        if len(numbered) > 1:
            numbered.sort(key=lambda pair: pair[0])
        yield parts, [item for _, item in numbered]


def _state(items: Sequence[Item], problem: SlmDeskError | None) -> tuple[FileState, SlmDeskError | None]:
    if (absent := _absent(items)) is not None:
        return "partial", absent
    if problem is not None and problem.code != "model_not_chat":
        # What is merely not there today keeps the state it had.
        there = not any(item.problem for item in items)
        return ("damaged" if there else _worst(item.origin.state for item in items)), problem
    found = [_known_state(item.origin, item.facts.size, item.facts.time_ns, item.name) for item in items]
    worst = _worst(state for state, _ in found)
    return worst, next((error for state, error in found if state == worst and error), problem)


def _worst(states: Iterable[FileState]) -> FileState:
    """A split file is as good as its worst part."""
    found = set(states)
    if len(found) == 1:
        return found.pop()
    return next(state for state in _WORST_FIRST if state in found)


def _absent(items: Sequence[Item]) -> SlmDeskError | None:
    first = items[0].name
    split = split_part(first[:-5]) if "-of-" in first else None
    if split is None:
        return None
    there = {number[1] for item in items if (number := split_part(item.name[:-5]))}
    absent = [number for number in range(1, min(split[2], 9999) + 1) if number not in there]
    if not absent:
        return None
    listed = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
    return SlmDeskError(
        "model_parts_missing",
        f"{first} is one of {split[2]} parts; missing: {listed}.",
        "Put the missing parts into the same folder, or download the model again.",
    )


def _known_state(
    origin: Origin, size: int, time_ns: int, name: str = ""
) -> tuple[FileState, SlmDeskError | None]:
    """What the sidecar's entry means for a file of this size and time."""
    if origin.size not in {-1, size}:
        return ("partial" if size < origin.size else "damaged"), SlmDeskError(
            "file_size_wrong",
            f"{name} has {size} bytes; {origin.size} were downloaded.",
            "Download it again.",
        )
    if origin.modified_ns and abs(origin.modified_ns - time_ns) > _TIME_SLACK_NS:
        return ("changed upstream" if origin.state == "changed upstream" else "unverified"), None
    if origin.state == "damaged":
        return "damaged", SlmDeskError(
            "hash_wrong",
            f"The content of {name} is not what it should be: its SHA-256 differs.",
            "Download it again.",
        )
    return origin.state, None
