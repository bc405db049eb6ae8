"""What native code depends on here: processor, graphics drivers and the build of llama.cpp.

What was learned about the one may be wrong about another, so it is kept together with this. Nothing native is
loaded to find it out.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING

from slmdesk.core import drivers, hardware
from slmdesk.core.llama_library import library_folder
from slmdesk.core.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path

_LIBRARY = re.compile(r"^(lib)?(llama|ggml[\w-]*)\.(so|dylib|dll)$")
_VARIANT = re.compile(r"^(lib)?ggml-cpu-[\w.-]+$")
_GPU_PART = re.compile(r"^(lib)?ggml-(cuda|hip|metal|musa|opencl|sycl|vulkan)[\w.-]*$")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Texts that change when the machine, its drivers or the build do; "" where something is not known."""

    processor: str
    features: str
    drivers: str
    build: str

    @property
    def digest(self) -> str:
        """A short name of it."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Build:
    """What this build of llama.cpp came with. `variants`: one processor part for each generation of processors."""

    identity: str = ""
    variants: bool = False
    gpu_part: bool = False


def fingerprint() -> Fingerprint:
    """This machine's. Reads a few small files; on a Mac it starts two short commands: not for an event loop."""
    name, features = hardware.processor()
    return Fingerprint(name, " ".join(features), "; ".join(drivers.versions()), installed().identity)


def installed() -> Build:
    """The build, and the parts for GPUs that were added to it."""
    made, added = build(), build_in(Paths.resolve().backends, "")
    if not added.gpu_part:
        return made
    return Build(f"{made.identity}{added.identity}", made.variants, gpu_part=True)


@cache
def build() -> Build:
    """Looked up once a process: an update under a running one counts from its next start on."""
    from importlib import metadata  # takes longer than a frame, and the window only wants the steps' words

    try:
        release = metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        release = "?"
    folder = library_folder()
    return build_in(folder, release) if folder is not None else Build(release)


def build_in(folder: Path, release: str) -> Build:
    """The build whose libraries lie in `folder`. Its identity: the release, and name, size and time of each library."""
    names: list[str] = []
    variants = gpu_part = False
    for file in _files(folder):
        variant, gpu = bool(_VARIANT.match(file.name)), bool(_GPU_PART.match(file.name))
        if variant or gpu or _LIBRARY.match(file.name):
            state = file.stat()
            names.append(f"{file.name} {state.st_size} {state.st_mtime_ns}")
            variants, gpu_part = variants or variant, gpu_part or gpu
    mark = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    return Build(f"{release} {mark}", variants, gpu_part)


def _files(folder: Path) -> list[Path]:
    """What lies in the folder and in its `gpu/`, where parts for GPUs are; nothing where it is not there."""
    return sorted(file for place in (folder, folder / "gpu") for file in place.glob("*") if file.is_file())
