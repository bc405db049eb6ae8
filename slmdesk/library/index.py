"""What headers said, remembered by path, size and time, so that each is read once.

It also keeps the list of a models folder that is not there today (an unplugged disk, a share). Everything in it
can be had again by reading the files.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.formats import gguf

_VERSION = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header of one file says; `error` is its `SlmDeskError.to_json()` where it does not parse."""

    size: int
    time_ns: int
    kind: str = "model"
    architecture: str = ""
    quant: str = ""
    parameters: int = 0
    context_length: int = 0
    licence: str = ""
    error: dict[str, str] | None = None

    @property
    def problem(self) -> SlmDeskError | None:
        return SlmDeskError.from_json(self.error) if self.error else None


class Index:
    """Facts by path. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._facts: dict[str, Facts] | None = None
        self._changed = False

    def facts(self, path: Path, *, whole: bool) -> Facts:
        """What the file's header says, read when the file is new or changed.

        `whole` is false for the later parts of a split file, which tell of weights only. Raises `OSError` when
        the file is not there.
        """
        status = path.stat()
        key = str(path)
        with self._lock:
            known = self._load().get(key)
        if known is not None and (known.size, known.time_ns) == (status.st_size, status.st_mtime_ns):
            return known
        facts = _read(path, status.st_size, status.st_mtime_ns, whole=whole)
        with self._lock:
            self._load()[key] = facts
            self._changed = True
        return facts

    def below(self, folder: Path) -> dict[Path, Facts]:
        """What was known of the files below a folder when it was there."""
        with self._lock:
            return {path: f for name, f in self._load().items() if folder in (path := Path(name)).parents}

    def keep_only(self, paths: set[Path], folder: Path) -> None:
        """Forget the files below `folder` that are not among `paths` any more."""
        known = self.below(folder)
        with self._lock:
            for path in known.keys() - paths:
                self._load().pop(str(path), None)
                self._changed = True

    def save(self) -> None:
        """Write the index if something changed. Failing costs time at the next start, no more."""
        with self._lock:
            if not self._changed or self._facts is None:
                return
            self._changed = False
            files = {path: asdict(facts) for path, facts in self._facts.items()}
            try:
                atomic_write(self._path, json.dumps({"version": _VERSION, "files": files}))
            except SlmDeskError as error:
                _log.warning("the library's index was not kept: %s", error)

    def _load(self) -> dict[str, Facts]:
        if self._facts is None:
            try:
                data = json.loads(self._path.read_text("utf-8"))
                files = data["files"] if data["version"] == _VERSION else {}
                self._facts = {path: _facts(entry) for path, entry in files.items()}
            except FileNotFoundError:
                self._facts = {}
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                _log.warning("the library's index is read anew: %r", error)
                self._facts = {}
        return self._facts


def _facts(entry: dict[str, Any]) -> Facts:
    facts = Facts(**{f.name: entry[f.name] for f in fields(Facts)})
    for name in ("size", "time_ns", "parameters", "context_length"):
        if type(getattr(facts, name)) is not int:
            raise TypeError(name)
    return facts


def _read(path: Path, size: int, time_ns: int, *, whole: bool) -> Facts:
    try:
        header = gguf.read_header(path)
        if whole:
            gguf.check(header)
        else:
            gguf.check_weights(header)
    except SlmDeskError as error:
        if error.code in {"file_missing", "file_unreadable"}:
            time_ns = -1  # may be readable the next time, without a change
        return Facts(size, time_ns, error=error.to_json())
    return Facts(
        size=size,
        time_ns=time_ns,
        kind="mmproj" if header.architecture == "clip" else header.kind,
        architecture=header.architecture,
        quant=header.quant,
        parameters=header.parameters,
        context_length=header.context_length,
        licence=header.licence,
    )
