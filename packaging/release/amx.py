#!/usr/bin/env python3
"""Is a built llama.cpp safe on processors with AMX? Its AMX code is run, emulated where this processor has none.

    python packaging/release/amx.py FOLDER [--model FILE.gguf]

FOLDER holds libraries somewhere below it: an environment, a frozen program, an unpacked wheel. Each library of the
processor's part (ggml-cpu) with AMX code in it multiplies matrices of every kind of weights in its AMX buffers and in
plain ones; with a model it also answers in both ways. A build whose tile configuration is not whole ends at the first
matrix (compiler/amx_tiles.h says why). Exit status: 0 holds, 1 does not, 3 not run here, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from release.project import PACKAGING, say, stop, warn

COMPILER = PACKAGING / "compiler"
PATIENCE_S = 900  # for one library; an emulated prompt is a million traps
# LDTILECFG with a memory operand: VEX in three bytes, map 0F38, no prefix, opcode 49, ModRM /0.
_LOADS_CONFIGURATION = re.compile(rb"\xc4[\xe2\xc2\xa2\x82]\x78\x49[\x00-\x07\x40-\x47\x80-\x87]")
# What the variant for these processors computes with besides; without them it cannot be run here.
_WANTED = ("avx512f", "avx512_vnni", "avx512bw", "avx512vl", "avx512dq")
_VARIANT_WANTED = ("avx512vbmi", "avx512_bf16")  # in the words of /proc/cpuinfo
QUESTION = "<|im_start|>user\nWhat is the capital of France? Answer in one sentence.<|im_end|>\n<|im_start|>assistant\n"


class NotRunError(Exception):
    """Why nothing could be found out here."""


class UnsafeError(Exception):
    """What is wrong with a library."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about one library."""

    library: Path
    lines: tuple[str, ...]


def libraries(folder: Path) -> list[Path]:
    """Every ggml-cpu below the folder that loads a tile configuration; each file once, whatever its names."""
    found: dict[Path, None] = {}
    for path in sorted(folder.rglob("libggml-cpu*.so*")):
        if _LOADS_CONFIGURATION.search(path.read_bytes()):
            found.setdefault(path.resolve())
    return list(found)


def why_not(library: Path) -> str:
    """Why a library's AMX code cannot be run on this machine; empty where it can."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return "AMX is a part of x86-64 processors, and its emulator one for Linux"
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    wanted = (*_WANTED, *(_VARIANT_WANTED if "-cpu-" in library.name else ()))
    if missing := [name for name in wanted if name not in flags]:
        return f"this processor lacks {', '.join(missing)}, which code for AMX uses besides"
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        return "there is no C compiler for the emulator"
    return ""


def emulator(folder: Path) -> Path:
    """Compile the emulator into the folder."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    made = folder / "amx_emulator.so"
    command = [compiler, "-O3", "-mavx2", "-shared", "-fPIC", "-o", str(made)]
    command.append(str(COMPILER / "amx_emulator.c"))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotRunError(f"the emulator could not be compiled: {done.stderr[-500:]}")
    return made


def run(arguments: list[str], preload: Path, python: str, *, search: list[Path]) -> dict[str, Any]:
    """The child's result. Raises `UnsafeError` with what it said when it ends otherwise."""
    told = dict(os.environ, LD_PRELOAD=str(preload), PYTHONDONTWRITEBYTECODE="1")
    # Threads would be tried one by one: one is enough, and its order of adding is always the same.
    told.update(OMP_NUM_THREADS="1", LD_LIBRARY_PATH=os.pathsep.join(map(str, search)))
    command = [python, str(COMPILER / "amx_child.py"), *arguments]
    try:
        done = subprocess.run(command, env=told, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise NotRunError(f"it was not done within {PATIENCE_S} s") from error
    if done.returncode != 0:
        said = [
            line for line in done.stderr.splitlines() if line.startswith("amx:")
        ] or done.stderr.splitlines()
        raise UnsafeError(f"the process ended with {done.returncode}: {' '.join(said[-3:])}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def beside(library: Path, name: str) -> Path:
    """Another library of the same build: beside the given one, or where a wheel with variants keeps it."""
    package = library.parent.parent
    for folder in (library.parent, package / "llama_cpp" / "lib", package / "lib"):
        if (folder / name).exists():
            return folder / name
    raise NotRunError(f"{name} is not beside {library}")


def check(library: Path, *, model: Path | None = None, python: str = sys.executable) -> Found:
    """Run the library's AMX code. Raises `UnsafeError`, or `NotRunError` where that is not possible here.

    `model`: a quantized GGUF that is asked too; `python` must then have llama-cpp-python, of which only the binding
    is used.
    """
    if reason := why_not(library):
        raise NotRunError(reason)
    base = beside(library, "libggml-base.so")
    with tempfile.TemporaryDirectory(prefix="slmdesk-amx-") as folder:
        preload = emulator(Path(folder))
        search = [library.parent, base.parent]
        result = run(["matrices", str(base), str(library)], preload, python, search=search)
        if not result["amx"]:
            raise UnsafeError("the library offers no AMX buffers although the kernel's permission was given")
        if result["wrong"]:
            raise UnsafeError(f"wrong products for {', '.join(result['wrong'])}: {result['kinds']}")
        how = "emulated" if result["carried_out"] else "on this processor"
        kinds = ", ".join(f"{name} {apart:.1e}" for name, apart in result["kinds"].items())
        lines = [f"products of {len(result['kinds'])} kinds of weights are right ({how}): {kinds}"]
        if model is not None:
            words = ["answer", str(base.parent), str(library), str(model), QUESTION]
            answers = run(words, preload, python, search=search)
            if answers["with_amx"] != answers["without"]:
                raise UnsafeError(f"two answers: {answers['with_amx']!r} and {answers['without']!r}")
            lines.append(
                f"{model.name} answers the same with and without: {answers['with_amx'].strip()!r} "
                f"({answers['carried_out']} instructions emulated)"
            )
    return Found(library, tuple(lines))


def require(folder: Path, *, model: Path | None = None, python: str = sys.executable) -> None:
    """For builds: says what was found out below the folder; stops at a library that does not hold."""
    found = libraries(folder)
    if not found:
        say("no code for AMX in it: nothing to check")
    for library in found:
        try:
            say(f"AMX in {library.name}: " + "; ".join(check(library, model=model, python=python).lines))
        except NotRunError as error:
            warn(f"AMX in {library.name} was not run: {error}")
        except UnsafeError as error:
            stop(f"{library.name} ends on processors with AMX: {error}")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check a built llama.cpp on processors with AMX.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args(words)
    found = libraries(options.folder)
    if not found:
        print(f"no code for AMX below {options.folder}: nothing to check")
        return 0
    worst = 0
    for library in found:
        try:
            lines = check(library, model=options.model).lines
            print(f"{library}: " + "\n  ".join(("holds", *lines)))
        except NotRunError as error:
            print(f"{library}: not run here: {error}")
            worst = max(worst, 3) if worst != 1 else 1
        except UnsafeError as error:
            print(f"{library}: does not hold: {error}")
            worst = 1
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
