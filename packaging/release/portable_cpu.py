"""A llama-cpp-python that runs on any processor of its kind and uses the features that it finds.

ggml is built as a small core and one library for each generation of processors (GGML_CPU_ALL_VARIANTS). The engine
asks it to load the best of them (slmdesk/engines/native.py). In the wheel they lie in bin/, in the frozen program
beside the core (contents.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

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
    """The folder with the wheel; fetched and compiled when it is not there yet."""
    wanted = version()
    if found := list(WHEELS.glob(f"llama_cpp_python-{wanted}-*.whl")):
        say(f"using {found[0].name} from {WHEELS}")
        return WHEELS
    WHEELS.mkdir(parents=True, exist_ok=True)
    environment = BUILD / "wheel-maker"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = environment / ("Scripts/pip.exe" if WINDOWS else "bin/pip")
    say("compiling llama.cpp for every processor of this kind; on two cores that takes 10 to 20 minutes")
    options = MACOS_OPTIONS if MACOS else OPTIONS
    told = dict(os.environ, CMAKE_ARGS=" ".join(f"-D{name}={value}" for name, value in options.items()))
    told.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 2))
    package = f"llama-cpp-python=={wanted}"
    command = [str(pip), "wheel", "--no-deps", "--no-cache-dir", "--no-binary", "llama-cpp-python"]
    subprocess.run([*command, "--wheel-dir", str(WHEELS), package], env=told, check=True)
    check(next(iter(WHEELS.glob(f"llama_cpp_python-{wanted}-*.whl"))))
    return WHEELS


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
