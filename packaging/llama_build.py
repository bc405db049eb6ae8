"""How a checkout's llama.cpp is compiled: the settings that uv hands to llama-cpp-python's build.

They are a part of uv's key for a compiled wheel, and uv writes them beside the package it installs. So a wheel
compiled in another way is neither taken from the cache nor left in an environment. For that they must be the same for
every checkout on this machine: what the compiler includes is copied to uv's cache, under a name made of its contents.

Only the standard library, and syntax that Python 3.8 still reads: bootstrap.py uses this.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = "llama-cpp-python"
COMPILER = Path(__file__).resolve().parent / "compiler"
INCLUDED = ("amx_tiles.h", "compiler.cmake")  # the second is what CMake reads; it names the first
HOOK = "CMAKE_PROJECT_llama_cpp_INCLUDE"  # read right after the package's own project()
# What -march=native looks at, in the words of /proc/cpuinfo on x86 and on ARM.
_FEATURE = re.compile(
    r"(avx\w*|amx\w*|sse4\w*|ssse3|f16c|fma|bmi[12]|gfni|vaes|asimd\w*|sve\w*|sme\w*|i8mm|bf16|fphp)$"
)


def settings(uv: str, environment: dict) -> dict:
    """The build's settings on this machine, as scikit-build-core names them."""
    answer = subprocess.run([uv, "cache", "dir"], env=environment, stdout=subprocess.PIPE, text=True)
    cache = Path(answer.stdout.strip()) if answer.returncode == 0 and answer.stdout.strip() else None
    return {
        "cmake.define." + HOOK: (keep_included(cache) / INCLUDED[1]).as_posix(),
        # Not read by CMake: a wheel for another processor, out of a cache that machines share, is not this one.
        "cmake.define.SLMDESK_PROCESSOR": processor(),
    }


def options(wanted: dict) -> list:
    """The settings as uv's commands (sync, run, pip install) take them."""
    words = []
    for name, value in sorted(wanted.items()):
        words += ["--config-settings-package", PACKAGE + ":" + name + "=" + value]
    return words


def requirement(root: Path) -> str:
    """The version that the checkout's pyproject.toml asks for, as pip writes it."""
    found = re.search(PACKAGE + r"==[\w.]+", (root / "pyproject.toml").read_text(encoding="utf-8"))
    return found.group() if found else PACKAGE


def installed_with(environment: Path) -> dict | None:
    """What the llama.cpp in an environment was compiled with; None where there is none."""
    pattern = "Lib/site-packages" if sys.platform == "win32" else "lib/python3*/site-packages"
    if not any(environment.glob(pattern + "/llama_cpp")):
        return None
    for file in environment.glob(pattern + "/llama_cpp_python-*.dist-info/uv_build.json"):
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")).get("config_settings") or {})
        except (OSError, ValueError):
            continue
    return {}


def keep_included(cache: Path | None) -> Path:
    """The folder with what the compiler includes: in uv's cache, or in this checkout where that cannot be written."""
    contents = {name: (COMPILER / name).read_bytes() for name in INCLUDED}
    digest = hashlib.sha256(b"\0".join(contents[name] for name in INCLUDED)).hexdigest()[:16]
    if cache is None:
        return COMPILER
    folder = cache / "slmdesk-compiler" / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            if (folder / name).is_file() and (folder / name).read_bytes() == data:
                continue
            partial = folder / f"{name}.{os.getpid()}"
            partial.write_bytes(data)
            partial.replace(folder / name)
    except OSError:
        return COMPILER
    return folder


def processor() -> str:
    """A short name for what this processor can do: the same as long as code compiled for it runs."""
    known = platform.machine() + " " + platform.processor()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    if found:
        features = sorted(word for word in set(found.group(1).split()) if _FEATURE.match(word))
        known = platform.machine() + " " + " ".join(features)
    return hashlib.sha256(known.encode("utf-8")).hexdigest()[:12]
