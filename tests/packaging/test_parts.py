"""The parts of the build that can be judged without building."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from release import deb, freeze, icons, licences, smoke, sums
from release.project import DIST, PROGRAM
from slmdesk.toolchains import bundled, recipe
from tests.toolchains.conftest import write_recipe, write_source


def test_icons_are_what_their_heads_say() -> None:
    pictures = icons.draw()
    for size, data in pictures.items():
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == (size, size)
    small = {size: pictures[size] for size in (16, 256)}
    file = icons.ico(small)
    assert struct.unpack("<HHH", file[:6]) == (0, 1, 2)
    for index, size in enumerate(small):
        width, length, offset = struct.unpack("<B7xII", file[6 + 16 * index : 22 + 16 * index])
        assert width == size % 256
        assert file[offset : offset + length] == pictures[size]
    mac = icons.icns(pictures)
    assert mac[:4] == b"icns"
    assert struct.unpack(">I", mac[4:8])[0] == len(mac)


def test_licences_of_everything_required_are_found() -> None:
    from release import contents

    found = contents.distributions()
    names = {one.metadata["Name"].lower() for one in found}
    assert {"slmdesk", "aiohttp", "numpy", "llama_cpp_python", "hf-xet"} <= {
        name.replace("-python", "_python").replace("llama-cpp", "llama_cpp") for name in names
    }
    assert "pytest" not in names, "what only tests need does not go to people"
    parts = [licences.of_distribution(one) for one in found if one.metadata["Name"] != "slmdesk"]
    silent = {part.name for part in parts if not part.texts and not part.licence}
    assert not silent
    page = licences.page([*licences.of_files(), licences.of_python(), *parts])
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in page
    assert "The ggml authors" in page
    assert "<script" not in page


async def test_the_converter_goes_along_with_its_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from release import converter

    recipes, sources = tmp_path / "recipes", tmp_path / "sources"
    for folder in (recipes, sources):
        folder.mkdir()
    made = write_source(
        tmp_path,
        {
            "vendor/tool/run.py": "print()\n",
            "vendor/tool/lib/inside.py": "",
            "vendor/tool/LICENSE": "MIT, by its makers\n",
            "vendor/tool/huge.c": "int main() {}\n",
        },
    )
    write_recipe(recipes, made)
    made.rename(sources / "tinysource-2.0.tar.gz")  # an earlier build fetched it
    monkeypatch.setattr(converter, "SOURCES", sources)
    monkeypatch.setattr(converter, "RECIPES", recipes)
    await converter.fetch("tiny")

    goes = {f"{folder}/{Path(file).name}" for file, folder in converter.files()}
    place = "resources/toolchains/sources/tinysource-2.0"
    assert goes == {f"{place}/{name}" for name in ("run.py", "lib/inside.py", "LICENSE", bundled.LIST)}
    program = tmp_path / "program"
    with pytest.raises(SystemExit):
        converter.require(program)
    for file, folder in converter.files():
        (program / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, program / folder)
    converter.require(program)
    write_recipe(program / "resources" / "toolchains", sources / "tinysource-2.0.tar.gz")
    assert recipe.load(program / "resources" / "toolchains", "tiny").bundled
    (part,) = licences.of_converter(sources)
    assert part.texts == ("MIT, by its makers\n",)


def test_markup_in_a_licence_stays_text() -> None:
    part = licences.Part("a <b>", "1", "MIT", ("<script>x</script>",))
    page = licences.page([part])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_what_stays_out() -> None:
    from release import contents

    wanted = contents.is_wanted
    assert wanted("PySide6/Qt/plugins/platforms/libqxcb.so")
    assert wanted("PySide6/plugins/platforms/qwindows.dll")
    assert not wanted("PySide6/Qt/plugins/platforms/libqeglfs.so")
    assert not wanted("PySide6/Qt/plugins/sqldrivers/libqsqlite.so")
    assert not wanted("PySide6/Qt/lib/libQt6Quick.so.6")
    assert not wanted("PySide6/Qt/translations/qtbase_de.qm")
    assert wanted("PySide6/Qt/lib/libQt6Network.so.6")
    assert wanted("PySide6/Qt/lib/libQt6OpenGLWidgets.so.6")  # pyqtgraph imports it, always
    assert wanted("llama_cpp/lib/libggml-cpu-haswell.so")
    assert wanted("resources/desk-guide/desk-guide-F16.gguf")


def test_every_module_goes_in() -> None:
    from release import contents

    names = contents.modules()
    assert {
        "slmdesk.cli.quantize",
        "slmdesk.gui.app",
        "slmdesk.engines.llama.main",
        "slmdesk.__main__",
    } <= set(names)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_equal_files_become_one(tmp_path: Path) -> None:
    data = os.urandom(10_000)
    for name in ("a.so", "b.so.1"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "c.so").write_bytes(os.urandom(10_000))
    assert freeze.link_equal_files(tmp_path) == 10_000
    assert (tmp_path / "b.so.1").read_bytes() == data
    assert (tmp_path / "b.so.1").is_symlink()
    assert not (tmp_path / "c.so").is_symlink()
    assert freeze.size_of(tmp_path) == 20_000


def test_smoke_environment_has_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    told = smoke.environment(tmp_path)
    assert "PYTHONPATH" not in told
    assert "VIRTUAL_ENV" not in told
    assert shutil.which("python3", path=told["PATH"]) is None


def test_unknown_lines_on_stderr_are_noticed() -> None:
    assert smoke.KNOWN_LINES.search("")
    assert not smoke.KNOWN_LINES.search("Traceback (most recent call last):")
    assert not smoke.KNOWN_LINES.search("qt.svg: cannot open file")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_debian_package_of_a_small_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, pictures, dist = tmp_path / "frozen", tmp_path / "icons", tmp_path / "dist"
    for folder in (program / "_internal", pictures, dist):
        folder.mkdir(parents=True)
    started = program / PROGRAM
    started.write_text("#!/bin/sh\necho it runs\n")
    started.chmod(0o755)
    (program / "_internal" / "data").write_text("x")
    icons_made = icons.draw()
    (pictures / f"{PROGRAM}-48.png").write_bytes(icons_made[48])
    monkeypatch.setattr(deb, "BUILD", tmp_path / "build")
    monkeypatch.setattr(deb, "DIST", dist)
    monkeypatch.setattr(deb.lay_out, "__defaults__", (program,))
    package = deb.make_deb(pictures, quick=True)

    listed = subprocess.run(
        ["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=5) for line in listed.splitlines()]
    assert {row[1] for row in rows} == {"root/root"}
    names = {row[5].split(" -> ")[0]: row for row in rows}
    assert "./usr/share/icons/hicolor/48x48/apps/slmdesk.png" in names
    assert "./usr/share/applications/slmdesk.desktop" in names
    assert "./usr/share/mime/packages/slmdesk.xml" in names
    assert names["./usr/lib/slmdesk/slmdesk"][0] == "-rwxr-xr-x"
    assert names["./usr/lib/slmdesk/_internal/data"][0] == "-rw-r--r--"

    root = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "-R", str(package), str(root)], check=True)
    ran = subprocess.run([str(root / "usr" / "bin" / PROGRAM)], capture_output=True, text=True, check=False)
    assert ran.stdout == "it runs\n"
    control = (root / "DEBIAN" / "control").read_text()
    assert "Package: slmdesk\n" in control
    changes = gzip.decompress((root / "usr/share/doc/slmdesk/changelog.gz").read_bytes())
    assert b"Changelog" in changes


def test_sums_name_every_file(tmp_path: Path) -> None:
    file = tmp_path / "a.deb"
    file.write_bytes(b"abc")
    assert sums.sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert DIST.name == "dist"


def test_metadata_of_the_package_is_there() -> None:
    assert metadata.distribution("slmdesk").metadata["Name"] == "slmdesk"


def test_nothing_that_the_program_imports_is_excluded() -> None:
    import ast

    from release import contents
    from release.project import ROOT

    imported: set[str] = set()
    for file in (ROOT / "slmdesk").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module)
                imported.update(f"{node.module}.{alias.name}" for alias in node.names)
    # uv is looked for as a package only where the program is not packaged.
    assert imported & set(contents.EXCLUDED_MODULES) <= {"uv"}


def test_the_chart_needs_nothing_that_stays_out() -> None:
    from release import contents

    # A name of another Qt among the modules would be taken for that Qt.
    absent = [name for name in contents.EXCLUDED_MODULES if not name.startswith(("PyQt", "PySide2"))]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}));"
        "import slmdesk.gui.quantize.chart; print('imported')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr


def test_nothing_needs_the_hooks_that_are_left_out() -> None:
    from release import contents

    package = Path(contents.ROOT / "slmdesk")
    wanted = re.compile(
        r"^\s*(import|from) (multiprocessing|pkgutil)\b|inspect\.get(source|sourcelines|sourcefile|module)\b"
        r"|ProcessPoolExecutor",
        re.MULTILINE,
    )
    users = [str(file) for file in package.rglob("*.py") if wanted.search(file.read_text("utf-8"))]
    assert users == []
    spec = (contents.ROOT / "pyinstaller.spec").read_text("utf-8")
    assert "UNNEEDED_HOOKS" in spec
