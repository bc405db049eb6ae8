"""`slmdesk.json` beside a model's files: where each came from, and what is known of its content.

It lies in the model's folder, `<models>/<publisher>/<name>/`; its entries are named by path below that folder,
with `/` on every system. What another version of the program wrote into it is kept.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.library.records import FILE_STATES, FileState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

NAME = "slmdesk.json"
VERSION = 1
# Among an entry's extra facts: since which start of the system the disk may not have the whole file yet.
UNFLUSHED = "unflushed"
# And what a person wants of the model, which outlives every other fact: see `kept`.
SETTINGS = "settings"
_SIZE_LIMIT = 4 * 1024 * 1024
_LOCK_STALE_S = 10.0  # writing takes milliseconds; an older lock was left by a process that died
_LOCK_WAIT_S = 15.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """One file's entry. "", 0 and -1 where the entry does not say.

    `published`: whether `sha256` is what the source names (the hub, Ollama's manifest, the program that made
    the file); otherwise it was only taken down here, to notice later changes. `modified_ns` is the file's
    time when `state` was found: a file changed since is no longer called verified. `path` is where the file
    lies when the library uses it in place. `changed_at` names the revision in which upstream differs.
    """

    state: FileState = "unverified"
    size: int = -1
    sha256: str = ""
    repo: str = ""
    revision: str = ""
    licence: str = ""
    published: bool = True
    source: str = ""  # "hub", "ollama", "lm-studio", "hf-cache", "file", "quantize", …
    checked_at: float = 0.0  # seconds since 1970
    modified_ns: int = 0
    path: str = ""
    changed_at: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)  # everything else in the entry, kept as it is

    def to_json(self) -> dict[str, Any]:
        """The entry as it is written; what it does not say is left out."""
        entry: dict[str, Any] = dict(self.extra)
        entry["state"] = self.state
        if self.size >= 0:
            entry["size"] = self.size
        if self.sha256 and not self.published:
            entry["published"] = False
        for key in _TEXTS:
            if value := getattr(self, key):
                entry[key] = value
        for key in ("checked_at", "modified_ns"):
            if value := getattr(self, key):
                entry[key] = value
        return entry


_TEXTS = ("sha256", "repo", "revision", "licence", "source", "path", "changed_at")
_KNOWN = frozenset({*_TEXTS, "state", "size", "published", "checked_at", "modified_ns"})


def read(folder: Path) -> dict[str, Origin]:
    """The entries by file name. What cannot be read or understood is left out: the files are still there."""
    data = _load(folder / NAME)
    return parse(data.get("files") if data is not None else None)


def parse(files: object) -> dict[str, Origin]:
    """The entries of a sidecar's `files`."""
    if not isinstance(files, dict):
        return {}
    return {name: _origin(entry) for name, entry in files.items() if isinstance(entry, dict)}


def record(folder: Path, entries: Mapping[str, Origin]) -> None:
    """Write these entries in place of the ones of the same names; all others stay, and so does what a person set.

    Blocking. Raises `SlmDeskError("file_unwritable")` or `SlmDeskError("disk_full")`; the old sidecar is then
    untouched.
    """

    def keep(name: str, before: Origin) -> Origin:
        made = entries[name]
        if SETTINGS not in before.extra or SETTINGS in made.extra:
            return made
        return replace(made, extra={**made.extra, SETTINGS: before.extra[SETTINGS]})

    change(folder, entries, keep)


def change(folder: Path, names: Iterable[str], make: Callable[[str, Origin], Origin]) -> None:
    """Replace each named entry with what `make(name, the entry as it is now)` returns. Raises as `record` does.

    Reading and writing are one step among all processes of the program.
    """
    _update(folder, lambda files: {name: make(name, _entry(files, name)).to_json() for name in names})


def forget(folder: Path, names: Iterable[str]) -> None:
    """Take entries out; a sidecar without entries goes away. Raises as `record` does."""
    if (folder / NAME).exists():
        _update(folder, lambda _: dict.fromkeys(names))


@cache
def this_boot() -> str:
    """A name for the time since the system was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        import psutil

        # The clock may be set meanwhile; a wrong answer costs a verification, no more.
        return f"{psutil.boot_time() // 600:.0f}"


def _update(folder: Path, changes: Callable[[dict[str, Any]], dict[str, Any | None]]) -> None:
    path = folder / NAME
    with _alone(folder):
        data = _load(path)
        if data is None:
            _set_aside(path)
            data = {}
        files = data.get("files")
        files = dict(files) if isinstance(files, dict) else {}
        for name, entry in changes(files).items():
            if entry is None:
                files.pop(name, None)
            else:
                files[name] = entry
        if not files and not set(data) - {"version", "files"}:
            with suppress(OSError):
                path.unlink()
            return
        version = data.get("version")
        newest = max(VERSION, version) if type(version) is int else VERSION
        whole = {**data, "version": newest, "files": dict(sorted(files.items()))}
        text = json.dumps(whole, indent=1, ensure_ascii=False)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            text = json.dumps(whole, indent=1)  # a path with bytes that are no text can only be kept escaped
        atomic_write(path, text + "\n")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer at a time. A plain file works on every file system, network shares included."""
    lock = folder / f".{NAME}.lock"
    deadline = time.monotonic() + _LOCK_WAIT_S
    held = False
    while not held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            held = True
        except (FileExistsError, PermissionError) as error:
            # Windows calls a lock that is just being removed forbidden.
            if (isinstance(error, PermissionError) and os.name != "nt") or not folder.is_dir():
                break  # the write itself says what is wrong
            with suppress(OSError):
                if time.time() - lock.stat().st_mtime > _LOCK_STALE_S:
                    lock.unlink()
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        except OSError:
            break
    try:
        yield
    finally:
        if held:
            with suppress(OSError):
                lock.unlink()


def _load(path: Path) -> dict[str, Any] | None:
    """What the file holds; empty where there is none, None where it cannot be understood."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_SIZE_LIMIT))  # one cut off at the limit does not parse
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s is not used: %s", path, error)
        return None
    return data if isinstance(data, dict) else None


def _set_aside(path: Path) -> None:
    """A sidecar nobody understands is not lost by writing a new one."""
    try:
        path.replace(path.with_name(f"{NAME}.damaged"))
    except OSError as error:
        raise SlmDeskError(
            "file_unwritable",
            f"{path} is damaged and cannot be replaced: {error.strerror or error}.",
            "Check that you may write there, or delete that file.",
        ) from error


def _entry(files: Mapping[str, Any], name: str) -> Origin:
    entry = files.get(name)
    return _origin(entry) if isinstance(entry, dict) else Origin()


def _origin(entry: Mapping[str, Any]) -> Origin:
    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    def number(key: str, otherwise: int) -> int:
        value = entry.get(key)
        return value if type(value) is int else otherwise

    checked = entry.get("checked_at")
    state: FileState = next((known for known in FILE_STATES if known == entry.get("state")), "unverified")
    extra = {key: value for key, value in entry.items() if key not in _KNOWN}
    if UNFLUSHED in extra and extra[UNFLUSHED] != this_boot():
        # The power may have gone before the last of it was written.
        del extra[UNFLUSHED]
        state = "unverified" if state == "verified" else state
    return Origin(
        state=state,
        size=number("size", -1),
        sha256=text("sha256").lower(),
        repo=text("repo"),
        revision=text("revision"),
        licence=text("licence"),
        published=entry.get("published") is not False,
        source=text("source"),
        checked_at=float(checked) if isinstance(checked, int | float) else 0.0,
        modified_ns=number("modified_ns", 0),
        path=text("path"),
        changed_at=text("changed_at"),
        extra=extra,
    )
