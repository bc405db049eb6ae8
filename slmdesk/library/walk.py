"""Looking through folders for model files: names, sizes and times, nothing is opened."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from slmdesk.library import sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEPTH = 16  # folders below a models folder that are looked into; a download may lie twelve below its model's
# By whole name, or by ending.
_KINDS = {
    sidecar.NAME: "sidecar",
    "config.json": "config",
    "genai_config.json": "config",
    "gguf": "gguf",
    "safetensors": "safetensors",
    "onnx": "onnx",
}


class Seen(NamedTuple):
    """One file as the folder lists it."""

    name: str
    size: int
    time_ns: int


@dataclass(slots=True)
class Folder:
    """One folder with something in it. `parts` is its way down from where the walk began.

    `weights` is "safetensors" or "onnx" where such a model lies in it; `files` are then all of its files.
    """

    path: str
    parts: tuple[str, ...]
    gguf: list[Seen] = field(default_factory=list)
    sidecar: Seen | None = None
    weights: str = ""
    files: list[Seen] = field(default_factory=list)


def folders(root: Path, depth: int = DEPTH) -> list[Folder]:
    """The folders at most `depth` below `root` that hold models or a sidecar; hidden ones are passed over.

    Links to folders are followed, once each. Raises `OSError` when `root` itself cannot be listed.
    """
    return list(_walk(str(root), depth))


def one(path: Path) -> Folder:
    """A single folder by itself. Raises `OSError`."""
    with os.scandir(path) as entries:
        return _look(str(path), (), sorted(entries, key=_name), config_above=False)[0]


def _walk(root: str, depth: int) -> Iterator[Folder]:
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[str, tuple[str, ...], bool]] = [(root, (), False)]
    while waiting:
        path, parts, config_above = waiting.pop()
        try:
            status = os.stat(path)  # noqa: PTH116 - many thousand calls
            # Windows gives no inode on some file systems; the depth bounds those.
            if status.st_ino and (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listed:
                entries = sorted(listed, key=_name)
        except OSError:
            if not parts:
                raise
            continue
        folder, below, config = _look(path, parts, entries, config_above=config_above)
        if folder.gguf or folder.sidecar or folder.weights:
            yield folder
        if len(parts) < depth:
            waiting += [(os.path.join(path, name), (*parts, name), config) for name in reversed(below)]  # noqa: PTH118


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _look(
    path: str, parts: tuple[str, ...], entries: list[os.DirEntry[str]], *, config_above: bool
) -> tuple[Folder, list[str], bool]:
    """What lies in a folder, the folders below it, and whether it holds a configuration."""
    folder = Folder(path, parts)
    below: list[str] = []
    kinds: set[str] = set()
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        kind = _KINDS.get(name) or _KINDS.get(name.rpartition(".")[2].lower())
        if kind is None:
            if _is_folder(entry):
                below.append(name)
        elif kind == "gguf":
            folder.gguf += _seen(entry)
        else:
            kinds.add(kind)
            folder.sidecar = next(iter(_seen(entry)), None) if kind == "sidecar" else folder.sidecar
    config = "config" in kinds
    if "safetensors" in kinds and config:
        folder.weights = "safetensors"
    elif "onnx" in kinds and (config or config_above):
        folder.weights = "onnx"
    if folder.weights:
        folder.files = [seen for entry in entries if _belongs(entry) for seen in _seen(entry)]
    return folder, below, config


def _belongs(entry: os.DirEntry[str]) -> bool:
    """Whether a file is part of the safetensors or ONNX model it lies with."""
    name = entry.name
    return not name.startswith((".", sidecar.NAME)) and not name.lower().endswith((".gguf", ".part"))


def _seen(entry: os.DirEntry[str]) -> tuple[Seen, ...]:
    """The file, or nothing where there is none: a link to nowhere, a folder of that name, gone since."""
    try:
        status = entry.stat()
    except OSError:
        return ()
    if not stat.S_ISREG(status.st_mode):
        return ()
    return (Seen(entry.name, status.st_size, status.st_mtime_ns),)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
