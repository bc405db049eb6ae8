"""What a person wants of one model file: kept beside it in `slmdesk.json`, so that it moves along with the model.

Where nothing can be written beside a file (it lies in no models folder, came with the program, or its folder is read
only) the program's data folder keeps it, by the file's path. A file that was only given another name is known by its
size and time. What Ollama runs a model with (`ollama_words`) counts below what the person chose here.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.formats.adapter_file import check_adapter
from slmdesk.formats.purpose import companion_named
from slmdesk.inference.limits import find_model_setting
from slmdesk.inference.loading import ScaledAdapter
from slmdesk.inference.model_settings import NOTHING, ModelSettings
from slmdesk.library import sidecar
from slmdesk.library.ollama_words import settings_of, text_of, unused_parameters
from slmdesk.library.sidecar import SETTINGS, Origin
from slmdesk.library.verify import entry_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.library.records import LibraryFile

_log = logging.getLogger(__name__)

_SEEN = "seen"  # beside the values: size and time of the file, by which it is known under another name
_LIMIT = 4 * 1024 * 1024  # bytes

Place = tuple[Path, str]
_Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What is kept for one file. `own`: by a person of this program; `brought`: with it from the program `source`.

    `template`: the text of a template that `source` speaks to it with; `adapters`: files that change it; `unused`:
    what else `source` says of it, by name.
    """

    own: ModelSettings = NOTHING
    brought: ModelSettings = NOTHING
    source: str = ""
    template: str = ""
    adapters: tuple[Path, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def effective(self) -> ModelSettings:
        """What counts: the person's values, then those that came along."""
        return self.own.over(self.brought)

    @property
    def loaded_with(self) -> tuple[ScaledAdapter, ...]:
        """The adapters that count: the person's, or those that came along."""
        if self.own.adapters is not None:
            return tuple(map(ScaledAdapter.of, self.own.adapters))
        return tuple(ScaledAdapter(str(path)) for path in self.adapters)

    def origin(self, name: str) -> str:
        """Where the value of this name comes from: "own", the other program's name, or "" where there is none."""
        if self.own.get(name) is not None:
            return "own"
        return self.source if self.brought.get(name) is not None else ""


class KeptSettings:
    """Reads and writes what is kept. Methods block: writing for milliseconds, reading mostly for two looks at the disk.

    Safe with several threads.
    """

    def __init__(self, data: Path) -> None:
        self._apart = data / "model-settings.json"
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[_Stamp, Any]] = {}

    def of(self, file: LibraryFile) -> FileSettings:
        """What is kept for a file. Nothing raises: what cannot be read is not there."""
        place = self._place(file)
        entries = self._entries(place[0]) if place is not None else {}
        name = place[1] if place is not None else ""
        origin = entries.get(name)
        own = _values(origin.extra.get(SETTINGS)) if origin is not None else {}
        if not own and place is not None and (renamed := _renamed(file, place, entries)):
            own = _values(entries[renamed].extra.get(SETTINGS))
        apart = self._entry_apart(file)
        brought = _brought(origin)
        folder = place[0] if place is not None else file.path.parent
        return replace(
            brought,
            own=ModelSettings.from_json(apart[1] if apart is not None else own),
            adapters=_adapters(folder, origin, entries),
        )

    def change(self, file: LibraryFile, changes: Mapping[str, object]) -> FileSettings:
        """Keep other values for a file; None takes one out again.

        Raises `setting_unknown`, `setting_invalid`, and `file_unwritable` or `disk_full` where it can be kept nowhere;
        for adapters `adapter_missing`, `adapter_unsuitable` or `adapter_mismatch`.
        """
        now = self.of(file)
        own = now.own.changed(changes)
        if changes.get("adapters"):
            own = replace(own, adapters=_checked_adapters(file, own.adapters or ()))
        place = self._place(file)
        if place is not None and not file.shipped:
            try:
                self._write_beside(file, place, own)
            except SlmDeskError as error:
                _log.info("the settings of %s are kept apart: %s", file.id, error)
                self._write_apart(file, own, nothing_too=True)
            else:
                self._write_apart(file, NOTHING)
        else:
            self._write_apart(file, own)
        return replace(now, own=own)

    def reset(self, file: LibraryFile, names: tuple[str, ...] = ()) -> FileSettings:
        """Take these values out, all without names. Raises as `change` does."""
        wanted = names or tuple(self.of(file).own.items())
        return self.change(file, {find_model_setting(name).key: None for name in wanted})

    def _place(self, file: LibraryFile) -> Place | None:
        """The sidecar that tells of this file (the first part of a split one), and its name there."""
        return entry_place(file, file.path, self._entries)

    def _write_beside(self, file: LibraryFile, place: Place, own: ModelSettings) -> None:
        folder, name = place
        entries = sidecar.read(folder)
        renamed = _renamed(file, place, entries)
        values = {**own.to_json(), _SEEN: list(_seen(file.path))} if own != NOTHING else None

        def entry(_: str, before: Origin) -> Origin:
            extra = {key: value for key, value in before.extra.items() if key != SETTINGS}
            return replace(before, extra={**extra, SETTINGS: values} if values else extra)

        if values is None and name not in entries and not renamed:
            return
        sidecar.change(folder, [name], entry)
        if renamed:
            sidecar.forget(folder, [renamed])

    def _write_apart(self, file: LibraryFile, own: ModelSettings, *, nothing_too: bool = False) -> None:
        """`nothing_too`: that nothing is wanted is kept as well, as it goes before what cannot be taken out beside."""
        known = self._json(self._apart)
        before = self._entry_apart(file)
        if before is None and own == NOTHING and not nothing_too:
            return
        files = {path: entry for path, entry in known.items() if before is None or path != before[0]}
        if own != NOTHING or nothing_too:
            files[_key(file)] = {**own.to_json(), _SEEN: list(_seen(file.path))}
        atomic_write(self._apart, json.dumps(files, indent=1, ensure_ascii=True) + "\n")

    def _entry_apart(self, file: LibraryFile) -> tuple[str, Mapping[str, Any]] | None:
        """The entry in the data folder, by the file's path or, where another file had it, by size and time."""
        known = self._json(self._apart)
        if not known:
            return None
        path = _key(file)
        if isinstance(found := known.get(path), dict):
            return path, found
        seen = list(_seen(file.path))
        for other, entry in known.items():
            if isinstance(entry, dict) and entry.get(_SEEN) == seen and not Path(other).exists():
                return other, entry
        return None

    def _entries(self, folder: Path) -> Mapping[str, Origin]:
        found: Mapping[str, Origin] = self._cached(folder / sidecar.NAME, lambda: sidecar.read(folder), {})
        return found

    def _json(self, path: Path) -> Mapping[str, Any]:
        def read() -> dict[str, Any]:
            try:
                with path.open("rb") as file:
                    data = json.loads(file.read(_LIMIT))
            except (OSError, ValueError, RecursionError) as error:
                _log.warning("%s is not used: %s", path, error)
                return {}
            return data if isinstance(data, dict) else {}

        found: Mapping[str, Any] = self._cached(path, read, {})
        return found

    def _cached(self, path: Path, read: Any, nothing: Any) -> Any:
        """What `read` gives, read again once the file has another size or time."""
        try:
            status = path.stat()
        except OSError:
            return nothing
        stamp = (status.st_mtime_ns, status.st_size)
        with self._lock:
            known = self._read.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        found = read()
        with self._lock:
            self._read[path] = (stamp, found)
        return found


def _checked_adapters(file: LibraryFile, texts: tuple[str, ...]) -> tuple[str, ...]:
    """With whole paths. Raises what is wrong with one of them, or that it was made for another model."""
    found = []
    for adapter in map(ScaledAdapter.of, texts):
        path = Path(adapter.path).expanduser().absolute()
        if not path.is_file():
            raise SlmDeskError("adapter_missing", f"There is no adapter {path}.", "Check the path.")
        check_adapter(path, file.path)
        found.append(f"{path}@{adapter.scale:g}")
    return tuple(found)


def _key(file: LibraryFile) -> str:
    """What the data folder calls a file; what came with the program lies elsewhere after an update."""
    return file.shipped or str(file.path)


def _values(entry: object) -> Mapping[str, Any]:
    return entry if isinstance(entry, dict) else {}


def _seen(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return status.st_size, status.st_mtime_ns


def _renamed(file: LibraryFile, place: Place, entries: Mapping[str, Origin]) -> str:
    """The name under which this very file was known before: one whose file is gone, of the same size and time."""
    seen = list(_seen(file.path))
    for name, origin in entries.items():
        values = _values(origin.extra.get(SETTINGS))
        same = name != place[1] and values.get(_SEEN) == seen and not origin.path
        if same and not (place[0] / name).exists():
            return name
    return ""


def _brought(origin: Origin | None) -> FileSettings:
    """What came with a file from the program it was imported from."""
    said = origin.extra.get("ollama") if origin is not None else None
    if not isinstance(said, dict):
        return FileSettings()
    return FileSettings(
        brought=settings_of(said),
        source="Ollama",
        template=text_of(said, "template"),
        unused=tuple(unused_parameters(said)),
    )


def _adapters(folder: Path, origin: Origin | None, entries: Mapping[str, Origin]) -> tuple[Path, ...]:
    """The adapters that Ollama loads with a model: of an import of it, which has a folder of its own."""
    if origin is None or origin.source != "ollama" or companion_named(origin.path):
        return ()
    return tuple(
        Path(other.path) if other.path else folder / name
        for name, other in entries.items()
        if other.source == "ollama" and companion_named(name) == "adapter"
    )
