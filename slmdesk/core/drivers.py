"""Which graphics drivers are installed, told without starting one: a broken driver may crash whoever loads it."""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NVIDIA = Path("/proc/driver/nvidia/version")
_DISPLAY_CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"


def versions(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """One line for each driver, with what changes when it is updated; empty where none is known."""
    if sys.platform == "darwin":
        return (f"macOS {platform.mac_ver()[0]}",)  # Metal's drivers are part of the system
    found = _windows() if sys.platform == "win32" else _linux(os.environ if environ is None else environ)
    return tuple(sorted(set(found)))


def _linux(environ: Mapping[str, str]) -> Iterator[str]:
    """NVIDIA's kernel module, and Vulkan's drivers: their description files, rewritten with each update."""
    with suppress(OSError, IndexError):
        yield _NVIDIA.read_text("utf-8", "replace").splitlines()[0]
    for file in _vulkan_files(environ):
        try:
            driver = json.loads(file.read_text("utf-8"))["ICD"]
            stamp = file.stat().st_mtime_ns
            library, version = str(driver["library_path"]), str(driver.get("api_version", ""))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        yield f"{Path(library).name} {version} {stamp}"


def _vulkan_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """The description files that Vulkan's loader would read (its LoaderDriverInterface document names the places)."""
    named = environ.get("VK_DRIVER_FILES") or environ.get("VK_ICD_FILENAMES")
    if named:
        yield from (Path(name) for name in named.split(os.pathsep) if name)
        return
    home = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME", "/")) / ".local/share")
    shared = environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    for root in (home, "/etc", *shared.split(":")):
        yield from sorted(Path(root, "vulkan", "icd.d").glob("*.json"))


def _windows() -> list[str]:
    found: list[str] = []
    if sys.platform == "win32":
        import winreg

        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _DISPLAY_CLASS) as adapters:
            for index in range(winreg.QueryInfoKey(adapters)[0]):
                number = winreg.EnumKey(adapters, index)
                if not number.isdigit():
                    continue
                try:
                    with winreg.OpenKey(adapters, number) as adapter:
                        name = winreg.QueryValueEx(adapter, "DriverDesc")[0]
                        version = winreg.QueryValueEx(adapter, "DriverVersion")[0]
                except OSError:
                    continue
                found.append(f"{name} {version}")
    return found
