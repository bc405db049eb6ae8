"""The Windows installer of a frozen folder. Runs wherever makensis is: also on Linux, for trying it under wine."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from release import windows_version
from release.project import DIST, FOLDER, IDENTIFIER, PACKAGING, PROGRAM, ROOT, VERSION, stop

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = PACKAGING / "windows" / "installer.nsi"


def make_installer(
    icon: Path,
    *,
    source: Path = FOLDER,
    target: Path | None = None,
    version: str = VERSION,
    quick: bool = False,
) -> Path:
    """Build the installer; its path."""
    makensis = shutil.which("makensis") or shutil.which(r"C:\Program Files (x86)\NSIS\makensis.exe")
    if makensis is None:
        stop("makensis is missing: apt-get install nsis, or winget install NSIS.NSIS")
    made = target or DIST / f"{PROGRAM}-{version}-windows-x86_64-setup.exe"
    size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    values = {
        "VERSION": version,
        "NUMBERS": ".".join(map(str, windows_version.numbers(version))),
        "SOURCE": str(source),
        "OUTPUT": str(made),
        "ICON": str(icon),
        "IDENTIFIER": IDENTIFIER,
        "LICENCE": str(ROOT / "LICENSE"),
        "SIZE": str(-(-size // 1024)),
        "COMPRESSION": "zlib" if quick else "lzma",
    }
    defines = [f"-D{name}={value}" for name, value in values.items()]
    # -WX: a warning is a mistake in the script.
    subprocess.run([str(makensis), "-V2", "-WX", "-INPUTCHARSET", "UTF8", *defines, str(SCRIPT)], check=True)
    return made
