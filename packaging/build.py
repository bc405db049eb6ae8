#!/usr/bin/env python3
"""Make what people download: the frozen program, tested, and this system's installers, tested.

    python packaging/build.py                      everything, in this order:
        clean      remove what earlier builds made
        freeze     an environment of its own in build/, llama.cpp's converter, PyInstaller, a report of sizes
        smoke      run the frozen program as a fresh user without Python: answers, a quant, the tour
        installer  Linux: .deb and tarball; Windows: installer; macOS: disk image
        install    install it, run the same test on what was installed, remove it (Linux: in a clean Debian)
        sums       SHA-256 list and CycloneDX bill of materials
    python packaging/build.py --only freeze,smoke  some of it
    python packaging/build.py --portable-cpu       with a llama.cpp that chooses the processor's features when it
                                                   runs; compiled once into build/wheels (10 to 20 minutes)
    python packaging/build.py --no-starter         without the general model that new chats begin with (98 MB)

Releases are built with --portable-cpu: else the program needs a processor like this machine's. Needs Python 3.11 and
what bootstrap.py needs; RELEASING.md lists the rest. Files go to dist/.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from release import amx, converter, freeze, gpu_part, installers, portable_cpu, smoke, starter, sums
from release.project import BUNDLE, DIST, FOLDER, MACOS, TITLE, VERSION, say, stop, warn

STEPS = ("clean", "freeze", "smoke", "installer", "install", "sums")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Build the installers of {TITLE} {VERSION}.")
    parser.add_argument(
        "--only", metavar="STEP,…", default=",".join(STEPS), help=f"some of: {', '.join(STEPS)}"
    )
    parser.add_argument(
        "--portable-cpu", action="store_true", help="compile llama.cpp for every processor of this kind"
    )
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help="a folder with the llama-cpp-python to use"
    )
    parser.add_argument(
        "--clean-debian",
        type=Path,
        metavar="DIR",
        help="a Debian made with debootstrap, to install the .deb into",
    )
    parser.add_argument(
        "--no-starter", action="store_true", help="without SmolLM2-135M-Instruct: 98 MB less in every file"
    )
    parser.add_argument("--quick", action="store_true", help="compress little: for trying things out")
    parsed = parser.parse_args(words)
    parsed.steps = [step for step in STEPS if step in parsed.only.split(",")]
    unknown = set(parsed.only.split(",")) - set(STEPS)
    if unknown:
        parser.error(f"unknown steps: {', '.join(sorted(unknown))}")
    return parsed


def main() -> int:
    options = arguments()
    for step in options.steps:
        say(f"== {step}")
        began = time.perf_counter()
        run(step, options)
        say(f"== {step} took {time.perf_counter() - began:.0f} s")
    return 0


def run(step: str, options: argparse.Namespace) -> None:
    if step == "clean":
        freeze.clean()
    elif step == "freeze":
        wheels = portable_cpu.build() if options.portable_cpu else options.wheels
        if wheels is None:
            warn("llama.cpp is built for this machine's processor; releases are made with --portable-cpu")
        python = freeze.make_environment(wheels, starter=not options.no_starter)
        converter.make(python)
        shipped = starter.clear() if options.no_starter else starter.make(python)
        gpu_part.make_with(python)
        folder = freeze.freeze(python)
        program = BUNDLE if MACOS else folder
        converter.require(program)
        starter.require_no_others(program)
        amx.require(program, model=shipped, python=str(python))
        print(freeze.report(folder))
    elif step == "smoke":
        smoke.smoke_test(frozen_folder())
    elif step == "installer":
        for file in installers.make(quick=options.quick):
            print(f"{freeze.size_of(file) / 1e6:8.1f} MB {file.name}")
    elif step == "install":
        installers.try_out(clean_debian=options.clean_debian)
    elif step == "sums":
        sums.write(DIST, freeze.python_of())


def frozen_folder() -> Path:
    folder = BUNDLE / "Contents" / "MacOS" if MACOS else FOLDER
    if not folder.is_dir():
        stop(f"{folder} is not there; run the step “freeze” first")
    return folder


if __name__ == "__main__":
    raise SystemExit(main())
