"""Making, checking, repairing and removing toolchains, with the real uv and real environments."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.toolchains import bundled, recipe, sources
from slmdesk.toolchains.making import MARKER, held
from slmdesk.toolchains.toolchains import Toolchain, Toolchains
from slmdesk.toolchains.uv import Network, decode, environment, find_uv, local_packages
from tests.toolchains.conftest import NAME, SOURCE_PACKAGE, Tiny, write_recipe, write_source


async def said(toolchain: Toolchain, *arguments: str, script: Path | None = None) -> tuple[int, str, str]:
    child = await toolchain.start(script or toolchain.source / "run.py", arguments)
    try:
        out = (await child.stdout.read()).decode()
        return await child.wait(), out.strip(), "\n".join(child.stderr_tail)
    finally:
        await child.terminate_tree()


def test_the_converter_is_of_the_release_that_the_engine_runs() -> None:
    made_of = recipe.load(Paths.resolve({}).resources / "toolchains", "convert")
    assert made_of.source.version == metadata.version("llama-cpp-python")
    lines = made_of.requirements.read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if line and not line.startswith(("#", " "))]
    assert all("==" in line for line in packages)
    without_hash = [line for line in packages if not line.rstrip().endswith("\\")]
    assert without_hash == [f"torch=={made_of.torch_version}"]


def test_an_unknown_toolchain_is_named(tiny: Tiny) -> None:
    with pytest.raises(SlmDeskError) as caught:
        tiny.toolchains.status("nothing")
    assert caught.value.code == "toolchain_unknown"
    assert NAME in caught.value.hint


async def test_it_is_announced_made_used_checked_and_removed(tiny: Tiny) -> None:
    before = tiny.toolchains.status(NAME)
    assert before.state == "missing"
    assert "Tiny (a helper) is made once" in before.announcement
    with pytest.raises(SlmDeskError) as caught:
        tiny.toolchains.get(NAME)
    assert caught.value.code == "toolchain_missing"

    told: list[tuple[float, float, str]] = []
    toolchain = await tiny.toolchains.ensure(NAME, lambda *args: told.append(args))
    assert told[0][0] == 0
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert all(0 <= done <= total for done, total, _ in told)

    found = tiny.toolchains.status(NAME)
    assert (found.state, found.packages["tinyhelper"]) == ("ready", "1.5")
    assert (toolchain.source / "LICENSE").read_text() == "do as you like\n"
    assert not (toolchain.source / "huge.c").exists()
    assert not any(entry.name.startswith((".making", ".cache")) for entry in tiny.toolchains.folder.iterdir())
    assert await tiny.toolchains.check(NAME) == []

    shutil.rmtree(tiny.packages)  # nothing of where it came from is needed any more
    assert await said(toolchain, "a b") == (0, "42 inside ['a b']", "")

    assert await tiny.toolchains.remove(NAME) > 1000
    assert tiny.toolchains.status(NAME).state == "missing"


async def test_damage_is_found_and_repaired(tiny: Tiny) -> None:
    toolchain = await tiny.toolchains.ensure(NAME)
    (toolchain.source / "lib" / "inside.py").write_text("NAME = 'outside'\n")
    helper = next(toolchain.folder.glob("env/**/tinyhelper/__init__.py"))
    helper.write_text("VALUE = 43\n")
    wrong = await tiny.toolchains.check(NAME)
    assert sorted(wrong) == ["source/lib/inside.py", "tinyhelper/__init__.py"]
    await tiny.toolchains.repair(NAME)
    assert await tiny.toolchains.check(NAME) == []
    assert helper.read_text() == "VALUE = 42\n"


async def test_what_is_not_whole_is_not_taken_for_whole(tiny: Tiny) -> None:
    toolchain = await tiny.toolchains.ensure(NAME)
    marker = toolchain.folder / MARKER
    good = marker.read_text()

    toolchain.python.unlink()
    assert tiny.toolchains.status(NAME).state == "damaged"
    await tiny.toolchains.ensure(NAME)

    marker.write_text(good[: len(good) // 2])
    assert tiny.toolchains.status(NAME).state == "damaged"
    marker.write_text(json.dumps({**json.loads(good), "digest": "another"}))
    assert tiny.toolchains.status(NAME).state == "outdated"
    marker.unlink()
    found = tiny.toolchains.status(NAME)
    assert found.state == "damaged"
    with pytest.raises(SlmDeskError) as caught:
        tiny.toolchains.get(NAME)
    assert caught.value.code == "toolchain_damaged"
    await tiny.toolchains.ensure(NAME)
    assert tiny.toolchains.status(NAME).state == "ready"


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_one_that_is_stopped_on_the_way_leaves_nothing_that_counts(tiny: Tiny, steps: int) -> None:
    words: list[str] = []
    reached = asyncio.Event()

    def heard(_done: float, _total: float, detail: str) -> None:
        if detail not in words:
            words.append(detail)
        if len(words) >= steps:
            reached.set()

    making = asyncio.create_task(tiny.toolchains.ensure(NAME, heard))
    await reached.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert tiny.toolchains.status(NAME).state == "missing"
    assert not list(tiny.toolchains.folder.glob(".making*"))
    await tiny.toolchains.ensure(NAME)
    assert await tiny.toolchains.check(NAME) == []


async def test_a_source_with_another_hash_is_refused(tiny: Tiny) -> None:
    archive = next(tiny.packages.glob("*.tar.gz"))
    write_recipe(tiny.recipes, archive, sha256="0" * 64)
    with pytest.raises(SlmDeskError) as caught:
        await tiny.toolchains.ensure(NAME)
    assert caught.value.code == "package_hash_wrong"
    assert tiny.toolchains.status(NAME).state == "missing"


async def test_a_source_that_would_write_elsewhere_is_refused(tiny: Tiny) -> None:
    archive = write_source(tiny.packages, {"vendor/tool/lib/../../../out.py": "evil = 1\n"})
    write_recipe(tiny.recipes, archive)
    with pytest.raises(SlmDeskError) as caught:
        await tiny.toolchains.ensure(NAME)
    assert caught.value.code == "package_damaged"
    assert not list(tiny.toolchains.folder.rglob("out.py"))


async def test_a_package_that_is_not_offered_is_said(tiny: Tiny) -> None:
    write_recipe(tiny.recipes, next(tiny.packages.glob("*.tar.gz")), helper="9.9")
    with pytest.raises(SlmDeskError) as caught:
        await tiny.toolchains.ensure(NAME)
    assert caught.value.code == "package_missing"
    assert "9.9" in caught.value.details


async def test_offline_and_busy_are_said(tiny: Tiny, paths: Paths) -> None:
    async with held(tiny.toolchains.folder, NAME):
        with pytest.raises(SlmDeskError) as caught:
            await tiny.toolchains.ensure(NAME)
    assert caught.value.code == "toolchain_busy"
    tiny.settings.set("network.offline", True)
    with pytest.raises(SlmDeskError) as caught:
        await Toolchains(paths, Settings(paths.settings_file)).ensure("convert")
    assert caught.value.code in {"offline", "toolchain_unsupported"}


async def test_scripts_reach_no_other_machine_and_end_with_their_parent(tiny: Tiny, tmp_path: Path) -> None:
    toolchain = await tiny.toolchains.ensure(NAME)
    script = tmp_path / "reach.py"
    script.write_text("import socket\nsocket.create_connection(('192.0.2.1', 80), 5)\n")
    code, _, errors = await said(toolchain, script=script)
    assert code == 1
    assert "reaches no other machine" in errors
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    child = await toolchain.start(script, [])
    assert (await child.stdout.readline()).strip() == b"up"
    child.stdin.close()
    assert await asyncio.wait_for(child.wait(), 30) != 0
    await child.terminate_tree()


def test_uv_is_found_and_its_failures_are_words() -> None:
    assert find_uv().is_file()
    cases = {
        "error: failed to write: No space left on device (os error 28)": "disk_full",
        "error: Failed to fetch: `somewhere` Caused by: dns error": "index_unreachable",
        "  × No solution found when resolving dependencies": "package_missing",
        "invalid peer certificate: UnknownIssuer": "certificate_invalid",
        "error: No interpreter found for Python 3.12": "python_missing",
        "something else": "toolchain_failed",
    }
    assert {text: decode(2, [text]).code for text in cases} == cases
    assert decode(-9, []).code == "toolchain_interrupted"
    assert "secret" not in decode(2, ["at scheme://me:secret@host/simple"]).details


def test_the_proxies_of_the_environment_are_handed_on_as_they_were_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7890/")
    assert environment(Network(), None)["ALL_PROXY"] == "socks5://127.0.0.1:7890"
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:3128")
    assert "ALL_PROXY" not in environment(Network(), None), "uv finds that one by itself"
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:7890")
    with pytest.raises(SlmDeskError) as caught:
        environment(Network(), None)
    assert caught.value.code == "proxy_invalid"
    assert environment(Network(proxy="http://own:1"), None)["ALL_PROXY"] == "http://own:1"


def test_pips_settings_are_handed_on_without_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "UV_FIND_LINKS",
        "UV_DEFAULT_INDEX",
        "UV_INDEX_URL",
        "UV_INDEX",
        "PIP_FIND_LINKS",
        "PIP_INDEX_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[global]\nfind-links =\n    {tmp_path}\nindex-url = https://mirror.example/simple\n"
        "extra-index-url = https://me:word@mirror.example/more\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    told = environment(Network(), None)
    assert local_packages(told) == [tmp_path]
    assert told["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert "word" not in str(told)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    assert "UV_DEFAULT_INDEX" not in environment(Network(), None)


async def test_a_source_that_came_with_the_program_is_not_fetched(tiny: Tiny) -> None:
    archive = next(tiny.packages.glob(f"{SOURCE_PACKAGE}-*.tar.gz"))
    source = tiny.toolchains.recipe(NAME).source
    before = tiny.toolchains.status(NAME).download_bytes
    folder = bundled.folder_of(tiny.recipes, source.package, source.version)
    files = sources.unpack(source, archive, folder)
    assert not tiny.toolchains.recipe(NAME).bundled, "files without the list that names them"
    bundled.write_list(folder, source, files)
    archive.unlink()

    assert tiny.toolchains.status(NAME).download_bytes == before - source.bytes
    told: list[tuple[float, float, str]] = []
    toolchain = await tiny.toolchains.ensure(NAME, lambda *args: told.append(args))
    assert not any("fetching the source" in words for _, _, words in told)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert (toolchain.source / "LICENSE").read_text() == "do as you like\n"
    assert await said(toolchain) == (0, "42 inside []", "")
    assert await tiny.toolchains.check(NAME) == []


async def test_a_source_of_another_release_or_a_damaged_one_is_fetched(tiny: Tiny) -> None:
    archive = next(tiny.packages.glob(f"{SOURCE_PACKAGE}-*.tar.gz"))
    source = tiny.toolchains.recipe(NAME).source
    folder = bundled.folder_of(tiny.recipes, source.package, source.version)
    files = sources.unpack(source, archive, folder)
    bundled.write_list(folder, replace(source, sha256="0" * 64), files)
    assert not tiny.toolchains.recipe(NAME).bundled
    bundled.write_list(folder, source, {**files, "../outside": "0" * 64})
    assert not tiny.toolchains.recipe(NAME).bundled

    bundled.write_list(folder, source, files)
    assert tiny.toolchains.recipe(NAME).bundled
    (folder / "lib" / "inside.py").write_text("NAME = 'spoiled'\n")
    told: list[tuple[float, float, str]] = []
    toolchain = await tiny.toolchains.ensure(NAME, lambda *args: told.append(args))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert await said(toolchain) == (0, "42 inside []", "")
