"""The parts of llama.cpp that compute on a GPU: which files there are, loading them, and the devices they find.

A part is a library of its own (ggml-vulkan, ggml-cuda, …). It is looked for in `gpu/` beside llama.cpp's library, where
a release keeps its own, and in the program's folder `backends`, for parts that were added later. Finding the files
takes no native code, so that any process may ask; loading them runs a driver, so only a child does.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.engines.devices import Device
from slmdesk.engines.fingerprint import library_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER = "gpu"  # beside llama.cpp's library
LIST = "backends.json"  # in a folder of added parts: {"llama_cpp": version, "files": {name: SHA-256}}

_BACKENDS = ("cuda", "hip", "metal", "musa", "opencl", "sycl", "vulkan")
_PART = re.compile(rf"(?:lib)?ggml-({'|'.join(_BACKENDS)})[\w.-]*\.(?:so|dll|dylib)")
# Built into the library itself, or lying where ggml loads its processor's part from, a part cannot be left out. Told
# this it starts no driver: Vulkan's loader reads no other description than the one named.
_HIDDEN = {
    "VK_DRIVER_FILES": os.devnull,
    "VK_ICD_FILENAMES": os.devnull,
    "GGML_DISABLE_VULKAN": "1",
    "GGML_VK_VISIBLE_DEVICES": "",
    "CUDA_VISIBLE_DEVICES": "-1",
    "HIP_VISIBLE_DEVICES": "-1",
    "GGML_METAL_DEVICES": "0",
}
_TYPES = ("cpu", "gpu", "igpu", "accel", "meta")  # enum ggml_backend_dev_type


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


def hide() -> None:
    """Keep this process from every GPU, also where llama.cpp was built with one. Call it before the library loads."""
    os.environ.update(_HIDDEN)


def load(ggml: ctypes.CDLL, parts: Iterable[Path]) -> list[str]:
    """Load parts into ggml, which then asks their drivers; a line for each that this machine cannot load.

    A driver may crash or hang here. A part whose driver's loader is not installed is no fault: it is left out.
    """
    ggml.ggml_backend_load.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_load.restype = ctypes.c_void_p
    problems = []
    for part in parts:
        if part.parent.name == "lib" and backend_of(part) in _linked(ggml):
            continue
        try:
            # Tried here first: what ggml logs about a library that is not there would look like a damaged model.
            library = ctypes.CDLL(str(part))
        except OSError as error:
            problems.append(f"the {backend_of(part)} part cannot be loaded: {error}")
            continue
        if not hasattr(library, "ggml_backend_init") or not ggml.ggml_backend_load(os.fsencode(part)):
            problems.append(f"the {backend_of(part)} part found no driver that it can use")
    return problems


def devices(ggml: ctypes.CDLL, base: ctypes.CDLL) -> list[tuple[int, Device]]:
    """Every device that ggml knows in this process, with its address."""
    _declare(ggml, base)
    found = []
    for index in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(index)
        properties = _Properties()
        base.ggml_backend_dev_get_props(device, ctypes.byref(properties))
        backend = base.ggml_backend_reg_name(base.ggml_backend_dev_backend_reg(device))
        kind = properties.type
        found.append(
            (
                int(device),
                Device(
                    name=_text(properties.name),
                    description=_text(properties.description).strip(),
                    kind=_TYPES[kind] if 0 <= kind < len(_TYPES) else "other",
                    backend=_text(backend),
                    total_bytes=int(properties.memory_total),
                    free_bytes=min(int(properties.memory_free), int(properties.memory_total)),
                    identity=_text(properties.device_id),
                ),
            )
        )
    return found


class _Abilities(ctypes.Structure):
    """struct ggml_backend_dev_caps"""

    _fields_ = [
        (name, ctypes.c_bool)
        for name in ("asynchronous", "host_buffer", "from_host_pointer", "events", "mapped")
    ]


class _Properties(ctypes.Structure):
    """struct ggml_backend_dev_props"""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("abilities", _Abilities),
        ("reserve", ctypes.c_char * 64),  # a newer ggml may know more of a device
    ]


def _declare(ggml: ctypes.CDLL, base: ctypes.CDLL) -> None:
    address = ctypes.c_void_p
    ggml.ggml_backend_dev_count.argtypes, ggml.ggml_backend_dev_count.restype = [], ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes, ggml.ggml_backend_dev_get.restype = [ctypes.c_size_t], address
    base.ggml_backend_dev_get_props.argtypes = [address, ctypes.POINTER(_Properties)]
    base.ggml_backend_dev_get_props.restype = None
    base.ggml_backend_dev_backend_reg.argtypes = [address]
    base.ggml_backend_dev_backend_reg.restype = address
    base.ggml_backend_reg_name.argtypes, base.ggml_backend_reg_name.restype = [address], ctypes.c_char_p


def _linked(ggml: ctypes.CDLL) -> set[str]:
    """Backends that are there already, because the library was built with them."""
    ggml.ggml_backend_reg_by_name.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_reg_by_name.restype = ctypes.c_void_p
    return {name for name in _BACKENDS if ggml.ggml_backend_reg_by_name(name.encode())}


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


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace") if value else ""
