"""What the program's own libraries ask the system for: the names they link to, the oldest C library that will do."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ELF = b"\x7fELF"


def binaries(folder: Path) -> list[Path]:
    """Every ELF file in the folder, links left out."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                if opened.read(4) == _ELF:
                    found.append(file)
    return found


def wanted_from_system(folder: Path) -> set[str]:
    """Names of shared libraries that something inside links to and that do not lie inside (`libGL.so.1`)."""
    inside = {file.name for file in folder.rglob("*.so*")}
    wanted: set[str] = set()
    for file in binaries(folder):
        shown = subprocess.run(
            ["objdump", "-p", str(file)], capture_output=True, text=True, check=True
        ).stdout
        wanted.update(re.findall(r"NEEDED\s+(\S+)", shown))
    return wanted - inside


def newest_glibc(folder: Path) -> str:
    """The newest GLIBC_… version that anything inside asks for, such as 2.34."""
    newest = (2, 17)
    for file in binaries(folder):
        shown = subprocess.run(["objdump", "-T", str(file)], capture_output=True, text=True).stdout
        for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", shown):
            newest = max(newest, (int(major), int(minor)))
    return f"{newest[0]}.{newest[1]}"
