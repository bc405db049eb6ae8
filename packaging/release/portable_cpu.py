"""A llama-cpp-python that runs on any processor of its kind and uses the features that it finds.

ggml is built as a small core and one library for each generation of processors (GGML_CPU_ALL_VARIANTS). The engine
asks it to load the best of them (slmdesk/llama/native.py). In the wheel they lie in bin/, in the frozen program
beside the core (contents.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import llama_build
from release import amx
from release.project import BUILD, MACOS, ROOT, WINDOWS, say, stop

WHEELS = BUILD / "wheels"
OPTIONS = {
    "GGML_NATIVE": "OFF",
    "GGML_BACKEND_DL": "ON",
    "GGML_CPU_ALL_VARIANTS": "ON",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TOOLS": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAVA_BUILD": "OFF",
    "LLAMA_CURL": "OFF",
}
# On a Mac there is one generation to tell apart, and Metal does the work: everything in one library.
MACOS_OPTIONS = {
    "GGML_NATIVE": "OFF",
    "GGML_METAL": "ON",
    "GGML_METAL_EMBED_LIBRARY": "ON",
    "LLAVA_BUILD": "OFF",
    "CMAKE_OSX_DEPLOYMENT_TARGET": "13.3",
}


def build() -> Path:
    """The folder with the wheel; fetched and compiled when it is not there yet, or was compiled in another way."""
    wanted, options = version(), MACOS_OPTIONS if MACOS else OPTIONS
    folder = WHEELS / key(options)
    if found := list(folder.glob(f"llama_cpp_python-{wanted}-*.whl")):
        say(f"using {found[0].name} from {folder}")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    environment = BUILD / "wheel-maker"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = environment / ("Scripts/pip.exe" if WINDOWS else "bin/pip")
    say("compiling llama.cpp for every processor of this kind; on two cores that takes 10 to 20 minutes")
    hook = (llama_build.COMPILER / llama_build.INCLUDED[1]).as_posix()
    settings = [f"cmake.define.{name}={value}" for name, value in {**options, llama_build.HOOK: hook}.items()]
    told = dict(os.environ)
    told.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 2))
    package = f"llama-cpp-python=={wanted}"
    command = [str(pip), "wheel", "--no-deps", "--no-cache-dir", "--no-binary", "llama-cpp-python"]
    command += [f"--config-settings={setting}" for setting in settings]
    with tempfile.TemporaryDirectory(dir=folder) as unchecked:
        subprocess.run([*command, "--wheel-dir", unchecked, package], env=told, check=True)
        wheel = next(iter(Path(unchecked).glob(f"llama_cpp_python-{wanted}-*.whl")))
        check(wheel)
        try_amx(wheel)
        wheel.replace(folder / wheel.name)
    return folder


def key(options: dict[str, str]) -> str:
    """A name for this way of compiling: its options and what the compiler includes."""
    parts = [f"{name}={value}".encode() for name, value in sorted(options.items())]
    parts += [(llama_build.COMPILER / name).read_bytes() for name in llama_build.INCLUDED]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def try_amx(wheel: Path) -> None:
    """Stop the build when a variant in the wheel would end on a processor with AMX."""
    with tempfile.TemporaryDirectory(prefix="slmdesk-wheel-") as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if "ggml" in name])
        amx.require(Path(folder))


def check(wheel: Path) -> list[str]:
    """The variants inside; stops when the build made only one."""
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).name for name in archive.namelist()}
    variants = sorted(name for name in names if re.search(r"ggml-cpu-[\w.]+\.(so|dll|dylib)$", name))
    if not MACOS and len(variants) < 2:
        stop(f"{wheel.name} holds no variants for processors")
    say(f"{wheel.name}: {len(variants)} variants, {wheel.stat().st_size / 1e6:.1f} MB")
    return variants


def version() -> str:
    """The release that pyproject.toml asks for."""
    found = re.search(r'"llama-cpp-python==([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]
