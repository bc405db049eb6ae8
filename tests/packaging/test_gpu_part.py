"""The part for GPUs, as far as it can be judged without ten minutes of compiling."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from release import contents, gpu_part
from release.project import MACOS
from slmdesk.core import llama_library

pytestmark = pytest.mark.skipif(MACOS, reason="on a Mac llama.cpp has Metal built in")


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Vulkan SDK of a few empty files, the only one this process sees."""
    folder = tmp_path / "sdk"
    for name in (
        "include/vulkan/vulkan_core.h",
        "bin/glslc",
        "share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("#define VK_EXT_layer_settings 1\n", "utf-8")
    monkeypatch.setenv("VULKAN_SDK", str(folder))
    monkeypatch.setattr(
        gpu_part.shutil, "which", lambda name: f"/usr/bin/{name}" if name == "cmake" else None
    )
    return folder


def _made(folder: Path) -> Path:
    version, _ = gpu_part._release()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"libggml-vulkan.{gpu_part._ending()}"
    part.write_bytes(b"a library")
    listed = {"llama_cpp": version, "files": {part.name: llama_library.sha256(part)}}
    (folder / gpu_part.LIST).write_text(json.dumps(listed), "utf-8")
    return part


def test_what_is_missing_is_said_with_what_brings_it(sdk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_part.missing() == []
    header = sdk / "include/vulkan/vulkan_core.h"
    header.write_text("#define VK_HEADER_VERSION 239\n", "utf-8")
    [old] = gpu_part.missing()
    assert "older than 1.3.261" in old
    header.write_text("#define VK_EXT_layer_settings 1\n", "utf-8")
    monkeypatch.setattr(gpu_part.shutil, "which", lambda _: None)
    assert ["CMake" in line for line in gpu_part.missing()] == [True]
    assert ["nvcc" in line for line in gpu_part.missing("cuda")] == [False, True]


def test_without_the_tools_a_release_goes_on_without_the_part(
    sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_part.shutil, "which", lambda _: None)
    monkeypatch.setattr(gpu_part, "PARTS", tmp_path / "none")
    assert gpu_part.make(tmp_path / "gpu") is None
    assert "without the vulkan part for GPUs: this machine lacks CMake" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu_part.make(tmp_path / "gpu", required=True)


def test_a_part_is_made_once_and_goes_into_the_program(
    sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gpu"
    part = _made(folder)
    monkeypatch.setattr(gpu_part, "_compile", None)  # must not be reached
    assert gpu_part.make(folder) == part
    monkeypatch.setattr(gpu_part, "PARTS", folder)
    assert (str(part), "llama_cpp/lib/gpu") in contents.data_files()
    part.write_bytes(b"half a lib")
    assert gpu_part._made(folder, "vulkan", gpu_part._release()[0]) is None


def test_an_archive_unpacks_into_what_the_engine_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_part, "DIST", tmp_path / "dist")
    packed = gpu_part.archive(_made(tmp_path / "made"))
    assert packed.name.startswith("slmdesk-gpu-vulkan-")
    backends = tmp_path / "backends"
    with tarfile.open(packed) as archive:
        archive.extractall(backends, filter="data")
    found = llama_library.find(backends, folder=tmp_path / "nowhere")
    assert [part.name for part in found.parts] == [f"libggml-vulkan.{gpu_part._ending()}"]
    assert found.problems == ()


def test_both_sides_agree_on_the_list() -> None:
    assert gpu_part.LIST == llama_library.LIST
    from importlib.metadata import version

    assert gpu_part._release()[0] == version("llama-cpp-python")
