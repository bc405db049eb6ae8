"""The files that systems read: each passes the validator of its format."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from release import deb, windows_version
from release.project import IDENTIFIER, PACKAGING, TITLE

LINUX = PACKAGING / "linux"


def wants(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@wants("desktop-file-validate")
def test_desktop_file() -> None:
    checked = subprocess.run(
        ["desktop-file-validate", str(LINUX / "slmdesk.desktop")], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@wants("appstreamcli")
def test_appstream_metadata(tmp_path: Path) -> None:
    file = tmp_path / f"{IDENTIFIER}.metainfo.xml"
    file.write_text(deb.metainfo(), encoding="utf-8")
    checked = subprocess.run(
        ["appstreamcli", "validate", "--no-net", "--explain", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    # There is no homepage to name, which newer validators warn of.
    said = [line for line in checked.stdout.splitlines() if line.startswith(("E:", "W:"))]
    assert [line for line in said if "url-homepage-missing" not in line] == [], checked.stdout
    assert checked.returncode == 0 or said, checked.stdout


@wants("shellcheck")
def test_mac_scripts() -> None:
    scripts = sorted(map(str, (PACKAGING / "macos").glob("*.sh")))
    assert len(scripts) == 3
    checked = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_property_lists() -> None:
    information = plistlib.loads((PACKAGING / "macos" / "Info.plist").read_bytes())
    assert information["CFBundleExecutable"] == TITLE  # what pyinstaller.spec calls the window's program
    kinds = {kind for entry in information["CFBundleDocumentTypes"] for kind in entry["LSItemContentTypes"]}
    declared = {
        entry["UTTypeIdentifier"]: entry["UTTypeTagSpecification"]["public.filename-extension"]
        for entry in information["UTImportedTypeDeclarations"]
    }
    assert {kind: declared[kind] for kind in kinds} == {"org.ggml.gguf": ["gguf"]}
    assert all(plistlib.loads((PACKAGING / "macos" / "entitlements.plist").read_bytes()).values())


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("0.1.0", (0, 1, 0, 0)),
        ("1.2.0rc1", (1, 2, 0, 0)),
        ("2.0", (2, 0, 0, 0)),
        ("1.4.7.2", (1, 4, 7, 2)),
        ("3.1.dev5", (3, 1, 0, 0)),
    ],
)
def test_windows_numbers(version: str, wanted: tuple[int, int, int, int]) -> None:
    assert windows_version.numbers(version) == wanted


@wants("dpkg")
@pytest.mark.parametrize("version", ["1.0.0rc1", "1.0.0a2", "1.0.0b3"])
def test_a_candidate_is_older_than_its_release(version: str) -> None:
    order = ["dpkg", "--compare-versions", deb.debian_version(version), "lt", deb.debian_version("1.0.0")]
    assert subprocess.run(order, check=False).returncode == 0


def test_version_is_said_once_everywhere() -> None:
    import tomllib

    import slmdesk

    project = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == slmdesk.__version__


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell's rule")
def test_scripts_may_be_executed() -> None:
    for script in (*(PACKAGING / "macos").glob("*.sh"), PACKAGING / "build.py"):
        assert script.stat().st_mode & 0o111, f"{script.name} is not executable"
