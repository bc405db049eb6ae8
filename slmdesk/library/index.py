"""What headers and sidecars said, remembered by path, size and time, so that each is read once.

It also keeps the list of a models folder that is not there today (an unplugged disk, a share). Everything in it
can be had again by reading the files.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from slmdesk.core.error_codes import FILE_GONE
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.formats import gguf
from slmdesk.formats.purpose import companion_kind, not_for_chat, purpose_of
from slmdesk.formats.vocabularies import Vocabularies
from slmdesk.library import sidecar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slmdesk.library.sidecar import Origin

_VERSION = 5
_FEW = 32  # files; for fewer no threads are started
_PIECE = 50  # files a thread takes at a time
_READERS = 16
_log = logging.getLogger(__name__)


class HeaderFacts(NamedTuple):
    """What the header of one file says; `error` is its `SlmDeskError.to_json()` where it does not parse, or where it
    is whole and for something else than chatting (`model_not_chat`)."""

    size: int
    time_ns: int
    kind: str = "model"
    architecture: str = ""
    quant: str = ""
    parameters: int = 0
    context_length: int = 0
    licence: str = ""
    format: str = "gguf"
    error: dict[str, str] | None = None
    purpose: str = "chat"

    @property
    def problem(self) -> SlmDeskError | None:
        return SlmDeskError.from_json(self.error) if self.error else None


_NOTHING = HeaderFacts(-1, -1)


class Index:
    """Headers by path, and sidecars by folder. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._loaded = False
        self._changed = False
        self._facts: dict[str, HeaderFacts] = {}
        self._sidecars: dict[str, tuple[int, int, dict[str, Origin]]] = {}

    def facts(self, path: Path, *, whole: bool) -> HeaderFacts:
        """What the file's header says, read when the file is new or changed.

        `whole` is false for the later parts of a split file, which tell of weights only. Raises `OSError` when
        the file is not there.
        """
        status = path.stat()
        return self.known(path, status.st_size, status.st_mtime_ns, whole=whole)

    def known(self, path: Path, size: int, time_ns: int, *, whole: bool) -> HeaderFacts:
        """The same for a file whose size and time were just seen."""
        return self.look(str(path), size, time_ns, lambda: _read(path, size, time_ns, whole=whole))

    def read_ahead(self, files: Sequence[tuple[Path, int, int, bool]]) -> None:
        """Read the headers of the new and changed ones of many files (path, size, time, whole), several at once:
        what takes long is the disk."""
        self._load()
        new = [file for file in files if (self._facts.get(str(file[0])) or _NOTHING)[:2] != file[1:3]]
        if len(new) < _FEW:
            return
        pieces = [new[start : start + _PIECE] for start in range(0, len(new), _PIECE)]
        while pieces and not self._waits_for_disk(pieces[0]):
            del pieces[0]
        if len(pieces) < 2:
            return
        with ThreadPoolExecutor(_READERS, thread_name_prefix="slmdesk-headers") as readers:
            for found in readers.map(_read_all, pieces[1:]):
                self._take(found)

    def _waits_for_disk(self, files: Sequence[tuple[Path, int, int, bool]]) -> bool:
        """Read some headers here; whether the disk took most of the time. Only then threads gain anything."""
        began, worked = time.perf_counter(), time.thread_time()
        self._take(_read_all(files))
        return time.perf_counter() - began > 3 * (time.thread_time() - worked)

    def _take(self, found: dict[str, HeaderFacts]) -> None:
        with self._lock:
            self._facts.update(found)
            self._changed = True

    def look(self, path: str, size: int, time_ns: int, read: Callable[[], HeaderFacts]) -> HeaderFacts:
        """What is known of anything with a size and a time; `read` finds it out when it is new or changed."""
        self._load()
        known = self._facts.get(path)
        if known is not None and known.size == size and known.time_ns == time_ns:
            return known
        facts = read()
        with self._lock:
            self._facts[path] = facts
            self._changed = True
        return facts

    def remembered(self, path: str) -> HeaderFacts | None:
        """What was known of a file when it was last there."""
        self._load()
        return self._facts.get(path)

    def sidecar(self, folder: str, size: int, time_ns: int) -> Mapping[str, Origin]:
        """The entries of a folder's sidecar, which has this size and time."""
        self._load()
        known = self._sidecars.get(folder)
        if known is not None and known[:2] == (time_ns, size):
            return known[2]
        origins = sidecar.read(Path(folder))
        with self._lock:
            self._sidecars[folder] = (time_ns, size, origins)
            self._changed = True
        return origins

    def below(self, folder: Path) -> tuple[dict[str, HeaderFacts], dict[str, Mapping[str, Origin]]]:
        """The files and the sidecars that were below a folder when it was there."""
        self._load()
        start = _start(folder)
        with self._lock:
            files = {path: facts for path, facts in self._facts.items() if path.startswith(start)}
            sidecars = {
                path: known[2]
                for path, known in self._sidecars.items()
                if path.startswith(start) or path == str(folder)
            }
        return files, dict(sidecars)

    def keep_only(self, paths: set[str], sidecars: set[str], folder: Path) -> None:
        """Forget the files and sidecars below `folder` that are not among these any more."""
        self._load()
        start = _start(folder)
        with self._lock:
            gone = [path for path in self._facts if path not in paths and path.startswith(start)]
            emptied = [path for path in self._sidecars if path not in sidecars and path.startswith(start)]
            for path in gone:
                del self._facts[path]
            for path in emptied:
                del self._sidecars[path]
            self._changed = self._changed or bool(gone or emptied)

    def save(self) -> None:
        """Write the index if something changed. Failing costs time at the next start, no more."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            sidecars = {
                folder: [time_ns, size, {name: origin.to_json() for name, origin in origins.items()}]
                for folder, (time_ns, size, origins) in self._sidecars.items()
            }
            data = {"version": _VERSION, "files": self._facts, "sidecars": sidecars}
            try:
                atomic_write(self._path, json.dumps(data, separators=(",", ":")))
            except SlmDeskError as error:
                _log.warning("the library's index was not kept: %s", error)

    def _load(self) -> None:
        if self._loaded:
            return
        with self._lock:
            if self._facts or self._sidecars:
                return  # another thread was faster
            try:
                data = json.loads(self._path.read_bytes())
                if data["version"] == _VERSION:
                    facts = {path: _facts(entry) for path, entry in data["files"].items()}
                    sidecars = {
                        folder: (int(time_ns), int(size), sidecar.parse(entries))
                        for folder, (time_ns, size, entries) in data["sidecars"].items()
                    }
                    self._facts, self._sidecars = facts, sidecars
            except FileNotFoundError:
                pass
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                _log.warning("the library's index is read anew: %r", error)
            self._loaded = True


def _start(folder: Path) -> str:
    text = str(folder)
    return text if text.endswith(os.sep) else text + os.sep


def _facts(entry: list[Any]) -> HeaderFacts:
    facts = HeaderFacts(*entry)
    numbers = (facts.size, facts.time_ns, facts.parameters, facts.context_length)
    if any(type(number) is not int for number in numbers):
        raise TypeError(entry)
    return facts


def _read_all(files: Sequence[tuple[Path, int, int, bool]]) -> dict[str, HeaderFacts]:
    shared = Vocabularies()
    return {
        str(path): _read(path, size, time_ns, whole=whole, shared=shared)
        for path, size, time_ns, whole in files
    }


def _read(
    path: Path, size: int, time_ns: int, *, whole: bool, shared: Vocabularies | None = None
) -> HeaderFacts:
    try:
        header = gguf.read_header(path, vocabularies=shared)
        other = not_for_chat(header) if whole else None
        if whole and other is None:
            gguf.check(header)
        else:
            gguf.check_weights(header)
    except SlmDeskError as error:
        if error.code in FILE_GONE:
            time_ns = -1  # may be readable the next time, without a change
        return HeaderFacts(size, time_ns, error=error.to_json())
    return HeaderFacts(
        size=size,
        time_ns=time_ns,
        kind=companion_kind(header) or "model",
        architecture=header.architecture,
        quant=header.quant,
        parameters=header.parameters,
        context_length=header.context_length,
        licence=header.licence,
        error=other.to_json() if other else None,
        purpose=purpose_of(header) if other else "chat",
    )
