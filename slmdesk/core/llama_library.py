"""The files that llama.cpp's library consists of here, found without loading any of them.

A part for GPUs is a library of its own (ggml-vulkan, ggml-cuda, …). It is looked for in `gpu/` beside llama.cpp's
library, where a release keeps its own, and in the program's folder `backends`, for parts that were added later.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = "gpu"  # beside llama.cpp's library
LIST = "backends.json"  # in a folder of added parts: {"llama_cpp": version, "files": {name: SHA-256}}

BACKENDS = ("cuda", "hip", "metal", "musa", "opencl", "sycl", "vulkan")
_PART = re.compile(rf"(?:lib)?ggml-({'|'.join(BACKENDS)})[\w.-]*\.(?:so|dll|dylib)")


@dataclass(frozen=True, slots=True)
class GpuParts:
    """Parts that may be loaded, and a line for each that may not."""

    parts: tuple[Path, ...]
    problems: tuple[str, ...] = ()


def find(added: Path | None = None, *, folder: Path | None = None) -> GpuParts:
    """The parts beside llama.cpp's library and in the folder `added`, each backend once; ours come first.

    An added part is checked against the list that came with it, which blocks for its reading.
    """
    folder = folder or library_folder()
    parts = _files(folder / FOLDER) if folder is not None else []
    # A build of somebody else's may keep it beside the library, whether it is loaded from there or linked to.
    parts += _files(folder) if folder is not None else []
    others, problems = _added(added) if added is not None else ([], [])
    chosen: dict[str, Path] = {}
    for part in (*parts, *others):
        chosen.setdefault(backend_of(part), part)
    return GpuParts(tuple(chosen.values()), tuple(problems))


def backend_of(part: Path) -> str:
    """The backend that a part's file name tells, such as "vulkan"."""
    found = _PART.fullmatch(part.name)
    return found[1] if found else ""


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if _PART.fullmatch(file.name))
    except OSError:
        return []


def _added(folder: Path) -> tuple[list[Path], list[str]]:
    """Parts of a folder whose list names them with their hash, made for the llama.cpp that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    files = _files(folder)
    if not files:
        return [], []
    try:
        stored: Any = json.loads((folder / LIST).read_text("utf-8"))
        made_for, hashes = str(stored["llama_cpp"]), dict(stored["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return [], [f"{folder} has no readable {LIST}: what lies there is not used"]
    try:
        installed = version("llama-cpp-python")
    except PackageNotFoundError:
        installed = ""
    if made_for != installed:
        return [], [f"{folder} was made for llama.cpp {made_for}, and {installed} runs here: it is not used"]
    good, problems = [], []
    for file in files:
        if hashes.get(file.name) == sha256(file):
            good.append(file)
        else:
            problems.append(f"{file.name} is not the file that {LIST} names: it is not used")
    return good, problems


def sha256(file: Path) -> str:
    """A file's hash in hexadecimal; "" where it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def library_folder() -> Path | None:
    """Where llama.cpp's libraries lie; None where the package is not there."""
    spec: Any = importlib.util.find_spec("llama_cpp")  # finds, does not import
    for place in spec.submodule_search_locations or () if spec is not None else ():
        for folder in (Path(place) / "lib", Path(place)):
            if any(folder.glob("*llama.*")):
                return folder
    return None
