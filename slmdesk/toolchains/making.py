"""Making a toolchain: in a folder of another name, which gets its own only when all of it is there and was tried."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write, writing_error
from slmdesk.core.processes import start_child
from slmdesk.core.space import existing_parent
from slmdesk.toolchains import bundled, sources
from slmdesk.toolchains import uv as uv_program
from slmdesk.toolchains.recipe import FORMAT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from slmdesk.toolchains.recipe import Recipe
    from slmdesk.toolchains.uv import Network

    # Bytes done, bytes in all, and what is being done.
    Progress = Callable[[float, float, str], None]

MARKER = "toolchain.json"
ENVIRONMENT = "env"
SOURCE = "source"
MAKING = ".making-"
_CACHE = ".cache"
_LOOKUP = "lookup"
_POLL_S = 0.5
_RENAME_TRIES = 20
_PROBE = """
import importlib, importlib.metadata, json, platform, sys
sys.path[:0] = json.loads(sys.argv[2])
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
found = {d.name: d.version for d in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""


def python_of(folder: Path) -> Path:
    """The Python of the toolchain in `folder`."""
    env = folder / ENVIRONMENT
    return env / "Scripts" / "python.exe" if sys.platform == "win32" else env / "bin" / "python"


class Maker:
    """Makes one toolchain below `root`."""

    def __init__(
        self,
        recipe: Recipe,
        root: Path,
        network: Network,
        on_progress: Progress,
        log: Callable[[str], None],
    ) -> None:
        self._recipe = recipe
        self._root = root
        self._network = network
        self._on_progress = on_progress
        self._log = log
        self._own_cache = "UV_CACHE_DIR" not in os.environ
        self._cache = root / _CACHE
        self._building = root / f"{MAKING}{recipe.folder_name}"
        self._source_bytes = recipe.source_download

    @property
    def _total(self) -> float:
        return float(self._source_bytes + self._recipe.packages_disk)

    async def make(self) -> Path:
        """The finished folder, in place of one that is there. See `Toolchains.ensure` for what it raises."""
        recipe = self._recipe
        recipe.require_system()
        if self._network.offline:
            raise SlmDeskError(
                "offline",
                f"The toolchain “{recipe.name}” must be fetched once, and SLM Desk is set to stay offline.",
                "Turn network.offline off, make the toolchain, and turn it on again.",
            )
        uv = uv_program.find_uv()
        async with held(self._root, recipe.name):
            await asyncio.to_thread(self._prepare)
            started = time.monotonic()
            try:
                facts = await self._build(uv)
                return await asyncio.to_thread(self._finish, facts, started)
            except BaseException as error:
                # What was fetched stays in the cache for the next attempt.
                await asyncio.shield(asyncio.to_thread(_remove_quietly, self._building))
                if isinstance(error, OSError):
                    raise writing_error(self._building, error) from error
                raise

    def _prepare(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            remove_folder(self._building)
            self._check_space()
            self._building.mkdir()
            self._cache.mkdir(exist_ok=True)
        except OSError as error:
            raise writing_error(self._root, error) from error

    def _check_space(self) -> None:
        needed = self._recipe.needed_bytes
        free = shutil.disk_usage(existing_parent(self._root)).free
        if free < needed:
            raise SlmDeskError(
                "disk_full",
                f"The toolchain “{self._recipe.name}” needs {amounts.size(needed)} while it is made; "
                f"{amounts.size(free)} are free.",
                f"Free {amounts.size(needed - free)} on the disk of {self._root}.",
            )

    async def _build(self, uv: Path) -> dict[str, Any]:
        recipe, building = self._recipe, self._building
        env = await asyncio.to_thread(
            uv_program.environment, self._network, self._cache if self._own_cache else None
        )
        env["UV_PYTHON_INSTALL_DIR"] = str(self._root / ".python")
        files = await asyncio.to_thread(bundled.take, recipe.recipes, recipe.source, building / SOURCE)
        if files is None:
            files = await self._fetch(uv, env)
        self._tell(self._source_bytes, "making the environment")
        await self._environment(uv, env)
        await self._packages(uv, env)
        self._tell(self._total * 0.99, "trying it")
        facts = await probe(building, recipe)
        return {**facts, "files": files}

    async def _fetch(self, uv: Path, env: dict[str, str]) -> dict[str, str]:
        """The source's files from the package index; their names and hashes."""
        recipe, building = self._recipe, self._building
        self._source_bytes = recipe.source.bytes  # also where the one that came with the program is damaged
        what = f"fetching the source of {recipe.source.package} {recipe.source.version}"
        self._tell(0, what)
        archive = self._cache / f"{recipe.source.package}-{recipe.source.version}.tar.gz"
        loop = asyncio.get_running_loop()

        def came(count: int) -> None:
            loop.call_soon_threadsafe(self._tell, count, what)

        await sources.fetch(
            recipe.source,
            archive,
            building / _LOOKUP,
            uv=uv,
            env=env,
            network=self._network,
            on_bytes=came,
        )
        await asyncio.to_thread(remove_folder, building / _LOOKUP)
        return await asyncio.to_thread(sources.unpack, recipe.source, archive, building / SOURCE)

    async def _environment(self, uv: Path, env: dict[str, str]) -> None:
        arguments = ["venv", "--no-project", "--relocatable", "--python", _python_for(self._recipe.python)]
        await uv_program.run(uv, [*arguments, str(self._building / ENVIRONMENT)], env, on_line=self._log)

    async def _packages(self, uv: Path, env: dict[str, str]) -> None:
        recipe = self._recipe
        arguments = ["pip", "install", "--no-deps", "--no-build", "--python", str(python_of(self._building))]
        if recipe.torch_backend and not _torch_lies_here(recipe, env):
            arguments += ["--torch-backend", recipe.torch_backend]
        watching = asyncio.create_task(self._watch(), name="toolchain size")
        # Without one here uv takes the settings of whatever project lies above this folder.
        own = self._building / "pyproject.toml"
        await asyncio.to_thread(own.write_text, "[tool.uv]\nmanaged = false\n")
        try:
            await uv_program.run(
                uv, [*arguments, "-r", str(recipe.requirements)], env, cwd=self._building, on_line=self._log
            )
        finally:
            await asyncio.to_thread(own.unlink, missing_ok=True)
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        """How far it is: uv unpacks into its cache while it fetches, then links or copies."""
        folder = self._cache if self._own_cache else self._building / ENVIRONMENT
        before = await asyncio.to_thread(size_of, folder)
        while True:
            await asyncio.sleep(_POLL_S)
            grown = await asyncio.to_thread(size_of, folder) - before
            done = min(max(grown, 0), self._recipe.packages_disk * 0.97)
            self._tell(self._source_bytes + done, "fetching packages")

    def _tell(self, done: float, detail: str) -> None:
        self._on_progress(min(done, self._total), self._total, detail)

    def _finish(self, facts: dict[str, Any], started: float) -> Path:
        """Write the marker, last of all, and give the folder its name."""
        recipe = self._recipe
        marker = {
            "format": FORMAT,
            "name": recipe.name,
            "version": recipe.source.version,
            "digest": recipe.digest,
            "made_at": time.time(),
            "seconds": round(time.monotonic() - started, 1),
            "bytes": size_of(self._building),
            **facts,
        }
        atomic_write(self._building / MARKER, json.dumps(marker, indent=1))
        target = self._root / recipe.folder_name
        remove_folder(target)
        _rename(self._building, target)
        for older in self._root.glob(f"{recipe.name}-*"):
            if older != target:
                remove_folder(older)
        remove_folder(self._cache)
        return target


@asynccontextmanager
async def held(root: Path, name: str) -> AsyncIterator[None]:
    """Only one process makes or removes a toolchain at a time. Raises `SlmDeskError("toolchain_busy")`."""
    lock = FileLock(root / f".lock-{name}", thread_local=False)
    try:
        await asyncio.to_thread(root.mkdir, parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SlmDeskError(
            "toolchain_busy",
            f"The toolchain “{name}” is being made or changed by another job.",
            "Wait until that is done.",
        ) from error
    except OSError as error:
        raise writing_error(root, error) from error
    try:
        yield
    finally:
        lock.release()


async def probe(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Import what it must hold, in its own Python; versions found.

    Raises `SlmDeskError("toolchain_damaged")` with what failed, or what `start_child` raises.
    """
    paths = [str(folder / SOURCE / recipe.source.import_path)] if recipe.source.import_path else []
    child = await start_child(
        [str(python_of(folder)), "-I", "-c", _PROBE, json.dumps(recipe.imports), json.dumps(paths)],
        env={"HF_HUB_OFFLINE": "1"},
    )
    try:
        said = (await child.stdout.read()).decode("utf-8", "replace")
        code = await child.wait()
    finally:
        await child.terminate_tree(1.0)
    if code != 0:
        raise SlmDeskError(
            "toolchain_damaged",
            f"The toolchain “{recipe.name}” does not work: {_last_line(child.stderr_tail) or f'it ended with {code}'}.",
            "Repair it: it is made again.",
            details="\n".join(child.stderr_tail[-40:]),
        )
    facts: dict[str, Any] = json.loads(said.splitlines()[-1])
    return facts


def remove_folder(folder: Path) -> None:
    """Remove a folder with all in it, if it is there. A whole toolchain loses its marker first: what is removed by
    halves must not be taken for whole. Raises OSError."""
    with suppress(FileNotFoundError):
        (folder / MARKER).unlink()
    for attempt in range(3):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError:
            if attempt == 2:
                raise
            time.sleep(0.3)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; one with several names counts once."""
    total, seen, waiting = 0, set[tuple[int, int]](), [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(Path(entry.path))
                            continue
                        status = entry.stat(follow_symlinks=False)
                        if status.st_nlink > 1 and (key := (status.st_dev, status.st_ino)) in seen:
                            continue
                        if status.st_nlink > 1:
                            seen.add(key)
                        total += status.st_size
        except OSError:
            continue
    return total


def _python_for(wanted: str) -> str:
    """The Python this program runs on where it fits, else whichever uv finds or fetches."""
    if not getattr(sys, "frozen", False):
        low, high = (tuple(map(int, part.split("."))) for part in re.findall(r"\d+\.\d+", wanted)[:2])
        if low <= sys.version_info[:2] < high:
            return str(getattr(sys, "_base_executable", "") or sys.executable)
    return wanted


def _torch_lies_here(recipe: Recipe, env: dict[str, str]) -> bool:
    """Whether a folder with packages holds the build for the processor alone."""
    pattern = f"torch-{recipe.torch_version}+{recipe.torch_backend}-*.whl"
    return any(any(folder.glob(pattern)) for folder in uv_program.local_packages(env))


def _rename(source: Path, target: Path) -> None:
    for attempt in range(_RENAME_TRIES):
        try:
            source.rename(target)
            return
        except PermissionError:
            # On Windows a scanner looks at fresh files for a while.
            if os.name != "nt" or attempt == _RENAME_TRIES - 1:
                raise
            time.sleep(0.5)


def _remove_quietly(folder: Path) -> None:
    """After a failure: the next attempt removes what could not be removed now."""
    with suppress(OSError):
        remove_folder(folder)


def _last_line(lines: list[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
