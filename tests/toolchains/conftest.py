"""A tiny toolchain, made for real by uv from packages that lie in a folder: no network is needed."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.toolchains.toolchains import Toolchains

NAME = "tiny"
SOURCE_PACKAGE = "tinysource"
RUN = """
import sys
sys.path.insert(1, sys.path[0] + "/lib")
import tinyhelper, inside
print(tinyhelper.VALUE, inside.NAME, sys.argv[1:])
"""


@dataclass(frozen=True)
class Tiny:
    """The folders of a tiny toolchain, and what makes it."""

    toolchains: Toolchains
    recipes: Path
    packages: Path
    settings: Settings

    @property
    def folder(self) -> Path:
        return self.toolchains.status(NAME).folder


@pytest.fixture
def tiny(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    packages, resources = tmp_path / "packages", tmp_path / "resources"
    packages.mkdir()
    (resources / "toolchains").mkdir(parents=True)
    write_wheel(packages, "tinyhelper", "1.5", {"tinyhelper/__init__.py": "VALUE = 42\n"})
    archive = write_source(
        packages,
        {
            "vendor/tool/run.py": RUN,
            "vendor/tool/lib/inside.py": "NAME = 'inside'\n",
            "vendor/tool/LICENSE": "do as you like\n",
            "vendor/tool/huge.c": "int main() {}\n",
        },
    )
    recipes = resources / "toolchains"
    write_recipe(recipes, archive)
    shipped = Paths.resolve({}).resources / "toolchains" / "guard.py"
    (recipes / "guard.py").write_bytes(shipped.read_bytes())
    for name in ("UV_CACHE_DIR", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_FIND_LINKS", str(packages))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    settings = Settings(paths.settings_file)
    toolchains = Toolchains(replace(paths, resources=resources), settings)
    return Tiny(toolchains, recipes, packages, settings)


def write_recipe(folder: Path, archive: Path, *, sha256: str = "", helper: str = "1.5") -> None:
    digest = sha256 or hashlib.sha256(archive.read_bytes()).hexdigest()
    (folder / "tiny.txt").write_text(f"# one package\ntinyhelper=={helper}\n", encoding="utf-8")
    (folder / "tiny.toml").write_text(
        f"""
name = "{NAME}"
title = "Tiny"
summary = "a helper"
python = ">=3.11,<4.0"
requirements = "tiny.txt"
imports = ["tinyhelper", "inside"]
systems = ["linux-x86_64", "linux-aarch64", "darwin-arm64", "darwin-x86_64", "win32-amd64", "win32-arm64"]

[source]
package = "{SOURCE_PACKAGE}"
version = "2.0"
sha256 = "{digest}"
bytes = {archive.stat().st_size}
strip = "vendor/tool/"
keep = ["vendor/tool/run.py", "vendor/tool/lib/", "vendor/tool/LICENSE"]
import_path = "lib"

[sizes]
linux = {{ download = 3000, disk = 9000 }}
""",
        encoding="utf-8",
    )


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{place},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for place, text in contents.items()
    ]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        for place, text in contents.items():
            packed.writestr(place, text)
        packed.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return path


def write_source(folder: Path, files: dict[str, str]) -> Path:
    path = folder / f"{SOURCE_PACKAGE}-2.0.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for place, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(f"{SOURCE_PACKAGE}-2.0/{place}")
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    return path
