"""Graphics drivers for tests: ones that crash, hang or list a device, compiled here, and the real part where it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from slmdesk.core import llama_library

ROOT = Path(__file__).resolve().parents[2]
HOW = (
    "ggml's Vulkan part is not built here: python3 packaging/bootstrap.py gpu compiles it (it needs cmake, glslc, "
    "spirv-headers and libvulkan-dev 1.3.261 or newer)"
)
STAND_INS = Path(__file__).parent / "stand_ins"
ENDING = {"win32": "dll", "darwin": "dylib"}.get(sys.platform, "so")


def compiled(source: str, target: Path) -> Path:
    """A shared library made of one C file."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("a C compiler named cc, gcc or clang is missing")
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(STAND_INS / source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def add_part(backends: Path, *, hash_of: str = "", made_for: str = "") -> Path:
    """The stand-in in the folder of added parts, with the list that belongs to it. It takes the name of a backend that
    hardly any machine has, so that it is loaded also where a real part is installed."""
    part = compiled("gpu_part.c", backends / f"libggml-musa.{ENDING}")
    hashes = {part.name: hash_of or llama_library.sha256(part)}
    entry = {"llama_cpp": made_for or version("llama-cpp-python"), "files": hashes}
    (backends / llama_library.LIST).write_text(json.dumps(entry), "utf-8")
    return part


def real_part() -> Path | None:
    """ggml's Vulkan part, beside llama.cpp's library or where a build of the release put it; None: not built."""
    parts = [*llama_library.find().parts, *sorted((ROOT / "build" / "gpu").glob("*ggml-vulkan.*"))]
    return next((part for part in parts if llama_library.backend_of(part) == "vulkan"), None)


def add_real_part(backends: Path) -> None:
    """The real part in the folder of added parts."""
    part = real_part()
    if part is None:
        pytest.skip(HOW)
    backends.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(part, backends / part.name)
    entry = {"llama_cpp": version("llama-cpp-python"), "files": {part.name: llama_library.sha256(part)}}
    (backends / llama_library.LIST).write_text(json.dumps(entry), "utf-8")
