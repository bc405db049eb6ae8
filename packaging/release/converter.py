"""llama.cpp's converter of the release that the program runs, with its licences, for the frozen program.

Its files are what making the toolchain would keep of the release's source package: slmdesk.toolchains fetches them,
checks the package's hash and cuts it down, here as on a person's machine. They go to build/sources and stay there
for the next build. Run as a script in the build's environment:

    build/environment/bin/python packaging/release/converter.py
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from release.project import BUILD, ROOT, say, stop

if TYPE_CHECKING:
    from slmdesk.toolchains.recipe import SourcePackage

SOURCES = BUILD / "sources"
RECIPES = ROOT / "resources" / "toolchains"


def make(python: Path) -> None:
    """Bring every toolchain's source to `SOURCES` with the build's Python; raises CalledProcessError."""
    subprocess.run([str(python), str(Path(__file__).resolve())], cwd=ROOT, check=True)


def files() -> list[tuple[str, str]]:
    """What the frozen program takes along: each file, and its folder there. Empty when `make` did not run."""
    return [
        (str(file), (Path("resources/toolchains/sources") / file.relative_to(SOURCES).parent).as_posix())
        for folder in sorted(SOURCES.glob("*-*"))
        if folder.is_dir()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]


def require(program: Path) -> None:
    """Stop the build when the frozen program would have to fetch what should have come along."""
    lists = [file for file in program.rglob("source.json") if "toolchains" in file.parts]
    if len(lists) != len(list(RECIPES.glob("*.toml"))):
        stop(f"llama.cpp's converter is not in {program}")


async def package(source: SourcePackage) -> Path:
    """The source package as it was released, its hash checked; one that is there already is not fetched again."""
    from slmdesk.toolchains import sources, uv

    archive = SOURCES / f"{source.package}-{source.version}.tar.gz"
    work = SOURCES / ".lookup"
    SOURCES.mkdir(parents=True, exist_ok=True)
    network = uv.Network(offline=False, proxy="", ca_file="")
    try:
        await sources.fetch(
            source,
            archive,
            work,
            uv=uv.find_uv(),
            env=uv.environment(network, None),
            network=network,
            on_bytes=lambda _: None,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return archive


async def fetch(name: str) -> Path:
    """The folder with the kept files of the toolchain's source. Raises `SlmDeskError` as making one does."""
    from slmdesk.toolchains import bundled, recipe, sources

    source = recipe.load(RECIPES, name).source
    title = f"{source.package}-{source.version}"
    folder = SOURCES / title
    archive = await package(source)
    shutil.rmtree(folder, ignore_errors=True)
    kept = sources.unpack(source, archive, folder)
    bundled.write_list(folder, source, kept)
    say(f"{title}: {len(kept)} files of llama.cpp's converter")
    return folder


def main() -> int:
    from slmdesk.toolchains import recipe

    wanted = {asyncio.run(fetch(name)) for name in recipe.names(RECIPES)}
    for other in SOURCES.glob("*-*"):  # of an earlier release
        if other.is_dir() and other not in wanted:
            shutil.rmtree(other)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
