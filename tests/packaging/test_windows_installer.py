"""The Windows installer under wine, with small programs for the real ones: made, installed, updated, removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from release import icons, nsis
from release.project import IDENTIFIER

MAKENSIS = shutil.which("makensis")
WINE = (
    shutil.which("wine64")
    or shutil.which("wine")
    or next(iter(map(str, Path("/usr/lib/wine").glob("wine64"))), None)
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(MAKENSIS is None, reason="makensis is not installed"),
    pytest.mark.skipif(WINE is None, reason="wine is not installed"),
]

# A program that runs until “stop” is asked of it, as the real one does. Its window is the icon of nothing.
STAND_IN = r"""
Unicode true
Target amd64-unicode
RequestExecutionLevel user
SilentInstall silent
OutFile "${OUTPUT}"
Name "stand-in ${MARK}"
!include FileFunc.nsh
!include LogicLib.nsh
Section
  ${GetParameters} $0
  ${If} $0 == "stop"
    FileOpen $1 "$EXEDIR\..\stop-asked" w
    FileClose $1
    Quit
  ${EndIf}
  FileOpen $1 "$EXEDIR\..\started" w
  FileClose $1
  ${Do}
    Sleep 100
  ${LoopUntil} ${FileExists} "$EXEDIR\..\stop-asked"
  FileOpen $1 "$EXEDIR\..\ended" w
  FileClose $1
SectionEnd
"""


@dataclass(frozen=True)
class Windows:
    """A wine prefix of its own."""

    prefix: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(WINE), *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "WINEPREFIX": str(self.prefix),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            # Neither a browser engine nor .NET is wanted, and no entries in this desktop's menus.
            "WINEDLLOVERRIDES": "mshtml=;mscoree=;winemenubuilder.exe=",
        }

    @property
    def user(self) -> Path:
        return next(path for path in (self.prefix / "drive_c" / "users").iterdir() if path.name != "Public")

    @property
    def local(self) -> Path:
        return self.user / "AppData" / "Local"

    def value(self, key: str, name: str = "") -> str | None:
        """A registry value of this user; None where there is none."""
        which = ["/v", name] if name else ["/ve"]
        done = self.run("reg", "query", rf"HKCU\{key}", *which, check=False)
        if done.returncode != 0:
            return None
        line = next(line for line in done.stdout.splitlines() if " REG_" in line)
        return (
            line.split(" REG_", 1)[1].split(None, 1)[1].strip()
            if len(line.split(" REG_", 1)[1].split()) > 1
            else ""
        )


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    machine = Windows(tmp_path_factory.mktemp("wine") / "prefix")
    machine.run("wineboot", "--init")
    yield machine
    server = shutil.which("wineserver") or next(
        iter(map(str, Path("/usr/lib/wine").glob("wineserver*"))), "wineserver"
    )
    subprocess.run([server, "-k"], env=machine.environment, check=False, capture_output=True)


@pytest.fixture(scope="module")
def icon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("icons")
    icons.write(folder)
    return folder / "slmdesk.ico"


def setup(folder: Path, icon: Path, version: str) -> Path:
    """An installer whose payload is that of one version: two programs and a file only this version has."""
    payload = folder / f"payload-{version}"
    (payload / "_internal").mkdir(parents=True)
    script = folder / "stand-in.nsi"
    script.write_text(STAND_IN)
    for name in ("slmdesk.exe", "SLM Desk.exe"):
        defines = [f"-DOUTPUT={payload / name}", f"-DMARK={version}"]
        subprocess.run([str(MAKENSIS), "-V1", *defines, str(script)], check=True)
    (payload / "_internal" / f"only-{version}.txt").write_text(version)
    (payload / "_internal" / "both.txt").write_text(version)
    return nsis.make_installer(
        icon, source=payload, target=folder / f"setup-{version}.exe", version=version, quick=True
    )


def wait_for(path: Path, *, there: bool = True) -> None:
    deadline = time.monotonic() + 120
    while path.exists() != there:
        assert time.monotonic() < deadline, path
        time.sleep(0.1)


def test_installed_updated_while_it_runs_and_removed(windows: Windows, icon: Path, tmp_path: Path) -> None:
    first, second = setup(tmp_path, icon, "1.0.0"), setup(tmp_path, icon, "1.1.0")
    programs = windows.local / "Programs"
    folder = programs / "SLM Desk"
    shortcut = windows.user / "AppData/Roaming/Microsoft/Windows/Start Menu/Programs/SLM Desk.lnk"
    uninstall_key = rf"Software\Microsoft\Windows\CurrentVersion\Uninstall\{IDENTIFIER}"
    windows.run(
        "reg", "add", r"HKCU\Environment", "/v", "Path", "/t", "REG_EXPAND_SZ", "/d", r"C:\own;%X%", "/f"
    )

    windows.run(str(first), "/S", "/PATH=1")
    assert (folder / "_internal" / "only-1.0.0.txt").read_text() == "1.0.0"
    assert {path.name for path in folder.iterdir()} == {
        "_internal",
        "slmdesk.exe",
        "SLM Desk.exe",
        "uninstall.exe",
    }
    assert shortcut.is_file()
    assert windows.value(uninstall_key, "DisplayVersion") == "1.0.0"
    assert str(windows.value(r"Software\Classes\SLMDesk.gguf\shell\open\command")).endswith(
        r'\SLM Desk.exe" "%1"'
    )
    assert windows.value(r"Software\Classes\.gguf") == "SLMDesk.gguf"
    path = str(windows.value("Environment", "Path"))
    assert path.startswith(r"C:\own;%X%;")
    assert path.endswith(r"\Programs\SLM Desk")

    own_file = folder / "notes of the person.txt"
    own_file.write_text("mine")
    models = windows.local / "slmdesk" / "models"
    models.mkdir(parents=True)
    (models / "a.gguf").write_text("a model")

    with subprocess.Popen([str(WINE), str(folder / "SLM Desk.exe")], env=windows.environment) as running:
        wait_for(programs / "started")
        assert running.poll() is None
        windows.run(str(second), "/S")
        assert running.wait(timeout=120) == 0
    assert (programs / "stop-asked").exists(), "the installer asked the running program to close"
    assert (programs / "ended").exists(), "which it did by itself"
    assert not (folder / "_internal" / "only-1.0.0.txt").exists()
    assert (folder / "_internal" / "both.txt").read_text() == "1.1.0"
    assert windows.value(uninstall_key, "DisplayVersion") == "1.1.0"
    assert windows.value("Environment", "Path") == path, "an update adds nothing twice"

    windows.run(str(folder / "uninstall.exe"), "/S")
    wait_for(folder / "uninstall.exe", there=False)
    wait_for(shortcut, there=False)
    deadline = time.monotonic() + 60
    while windows.value(rf"Software\{IDENTIFIER}", "Version") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert [path.name for path in folder.iterdir()] == [own_file.name], "what the program did not bring stays"
    assert (models / "a.gguf").read_text() == "a model"
    assert windows.value(uninstall_key, "DisplayVersion") is None
    assert windows.value(r"Software\Classes\SLMDesk.gguf\shell\open\command") is None
    assert windows.value(r"Software\Classes\.gguf") is None
    assert windows.value("Environment", "Path") == r"C:\own;%X%"


def test_models_go_when_asked(windows: Windows, icon: Path, tmp_path: Path) -> None:
    installer = setup(tmp_path, icon, "2.0.0")
    windows.run("reg", "add", r"HKCU\Software\Classes\.gguf", "/ve", "/d", "Other.gguf", "/f")
    windows.run(str(installer), "/S")
    folder, data = windows.local / "Programs" / "SLM Desk", windows.local / "slmdesk"
    assert windows.value("Environment", "Path") in (None, r"C:\own;%X%"), "PATH is changed only when asked"
    assert windows.value(r"Software\Classes\.gguf") == "Other.gguf", "another program keeps its files"
    (data / "models").mkdir(parents=True, exist_ok=True)
    windows.run(str(folder / "uninstall.exe"), "/S", "/DATA=1")
    wait_for(data, there=False)
    assert windows.value(r"Software\Classes\.gguf") == "Other.gguf"
