"""What the installers say about the program, read from its source, and where a build keeps its files."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"  # everything in between
DIST = ROOT / "dist"  # what is published
PACKAGING = ROOT / "packaging"

WINDOWS = sys.platform == "win32"
MACOS = sys.platform == "darwin"
LINUX = sys.platform.startswith("linux")

SUMMARY = "Small language models on your own machine"
DESCRIPTION = (
    "Pick a small language model that fits this machine, download it verified, make it smaller and see what "
    "that cost, chat with it offline, and serve it to other programs."
)


def _package_text(name: str) -> str:
    """A text constant of the package, without importing it."""
    source = (ROOT / "slmdesk" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(rf'^{name} = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise SystemExit(f"slmdesk/__init__.py does not say {name}")
    return found[1]


VERSION = _package_text("__version__")
TITLE = _package_text("TITLE")
IDENTIFIER = _package_text("IDENTIFIER")
PROGRAM = "slmdesk"  # the command

_EXE = ".exe" if WINDOWS else ""
FOLDER = DIST / PROGRAM  # the frozen program
BUNDLE = DIST / f"{TITLE}.app"


def command_line_program(folder: Path) -> Path:
    """The executable for terminals inside an installed or frozen folder."""
    return folder / f"{PROGRAM}{_EXE}"


def system_name() -> str:
    """This system and processor as download names say it: linux-x86_64, windows-x86_64, macos-arm64."""
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    system = "windows" if WINDOWS else "macos" if MACOS else "linux"
    return f"{system}-{machine}"


def debian_architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def build_time() -> int:
    """Seconds since 1970 that go into archives: given from outside, builds of one commit are alike."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", "0")) or 1767225600  # 2026-01-01


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def say(text: str) -> None:
    """Progress goes to stderr, like bootstrap.py's."""
    print(f"build: {text}", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    say(f"warning: {text}")


def stop(text: str) -> None:
    say(text)
    raise SystemExit(1)
