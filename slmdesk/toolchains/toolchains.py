"""The toolchains of this machine: which there are, whether they are whole, and making, repairing, removing them."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.core.processes import start_child
from slmdesk.toolchains import making, recipe
from slmdesk.toolchains.making import MAKING, MARKER, SOURCE, Maker, held, python_of
from slmdesk.toolchains.uv import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slmdesk.core.paths import Paths
    from slmdesk.core.processes import ChildProcess
    from slmdesk.core.settings import Settings
    from slmdesk.toolchains.making import Progress
    from slmdesk.toolchains.recipe import Recipe

State = Literal["missing", "ready", "outdated", "damaged"]

_MARKER_LIMIT = 16 * 1024 * 1024
_FETCHED_BYTES_S = 6e6  # what an ordinary line brings
_UNPACKED_BYTES_S = 40e6  # what an ordinary laptop unpacks, with a scanner looking on
# What a child of a toolchain must not find in its environment, and what it must.
_ENVIRONMENT = {
    "PYTHONNOUSERSITE": "1",
    "PYTHONPATH": "",
    "PYTHONHOME": "",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True, slots=True)
class ToolchainStatus:
    """A toolchain as it is now. Bytes and seconds: what making it takes where it is not there, else what it took."""

    name: str
    title: str
    summary: str
    state: State
    folder: Path
    version: str
    download_bytes: int
    disk_bytes: int
    seconds: float
    packages: dict[str, str]
    problem: SlmDeskError | None = None

    @property
    def announcement(self) -> str:
        """What a person is told before it is made."""
        minutes = max(1, round(self.seconds / 60))
        return (
            f"{self.title} ({self.summary}) is made once: about {amounts.size(self.download_bytes)} to fetch, "
            f"{amounts.size(self.disk_bytes)} on disk, {minutes} minute{'s' if minutes > 1 else ''} or so. "
            "It works offline afterwards."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "state": self.state,
            "folder": str(self.folder),
            "version": self.version,
            "download_bytes": self.download_bytes,
            "disk_bytes": self.disk_bytes,
            "seconds": self.seconds,
            "packages": self.packages,
            "problem": self.problem.to_json() if self.problem else None,
        }


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A whole toolchain, ready to run scripts."""

    name: str
    folder: Path
    version: str
    guard: Path

    @property
    def source(self) -> Path:
        """The folder with the kept source files."""
        return self.folder / SOURCE

    @property
    def python(self) -> Path:
        return python_of(self.folder)

    async def start(
        self,
        script: Path,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_stderr: Callable[[str], None] | None = None,
    ) -> ChildProcess:
        """Run a script with the toolchain's Python. It ends with this process, reaches no other machine, and runs
        no code of a model's folder. Raises `SlmDeskError("toolchain_damaged")` where it cannot be started."""
        command = [str(self.python), "-X", "utf8", str(self.guard), str(script), *arguments]
        try:
            return await start_child(
                command, env={**_ENVIRONMENT, **(env or {})}, cwd=self.folder, on_stderr=on_stderr
            )
        except SlmDeskError as error:
            raise damaged(self.name, error.message) from error


class Toolchains:
    """All toolchains, below `<data>/toolchains`."""

    def __init__(self, paths: Paths, settings: Settings) -> None:
        self.folder = paths.data / "toolchains"
        self._recipes = paths.resources / "toolchains"
        self._settings = settings

    def names(self) -> list[str]:
        return recipe.names(self._recipes)

    def recipe(self, name: str) -> Recipe:
        """Raises `SlmDeskError("toolchain_unknown")`."""
        return recipe.load(self._recipes, name)

    def status(self, name: str) -> ToolchainStatus:
        """What can be seen at a glance; `check` looks closer. Reads two small files.

        Raises `SlmDeskError("toolchain_unknown")`.
        """
        made_of = self.recipe(name)
        folder = self.folder / made_of.folder_name
        state: State = "missing"
        facts: dict[str, Any] = {}
        problem: SlmDeskError | None = None
        if (folder / MARKER).is_file():
            try:
                facts = _facts(folder, name)
                state = "ready" if facts["digest"] == made_of.digest else "outdated"
                _glance(folder, name)
            except SlmDeskError as error:
                state, problem = "damaged", error
        elif folder.exists():
            state, problem = "damaged", damaged(name, f"{MARKER} is not there")
        there = state == "ready"
        expected = made_of.download_bytes / _FETCHED_BYTES_S + made_of.disk_bytes / _UNPACKED_BYTES_S
        return ToolchainStatus(
            name=name,
            title=made_of.title,
            summary=made_of.summary,
            state=state,
            folder=folder,
            version=made_of.source.version,
            download_bytes=made_of.download_bytes,
            disk_bytes=int(facts["bytes"]) if there else made_of.disk_bytes,
            seconds=float(facts["seconds"]) if there else expected,
            packages=dict(facts.get("packages", {})) if there else {},
            problem=problem,
        )

    def get(self, name: str) -> Toolchain:
        """The toolchain, which must be there. Raises `SlmDeskError`: `toolchain_missing`, `toolchain_outdated`,
        `toolchain_damaged`, `toolchain_unknown`."""
        found = self.status(name)
        if found.problem is not None:
            raise found.problem
        if found.state == "ready":
            return Toolchain(name, found.folder, found.version, self.recipe(name).guard)
        outdated = found.state == "outdated"
        what = "was made for another version" if outdated else "is not there yet"
        raise SlmDeskError(
            "toolchain_outdated" if outdated else "toolchain_missing",
            f"The toolchain “{name}” {what}.",
            "Make it. " + found.announcement,
        )

    async def ensure(
        self,
        name: str,
        on_progress: Progress | None = None,
        log: Callable[[str], None] | None = None,
        *,
        again: bool = False,
    ) -> Toolchain:
        """The toolchain; made first where it is missing, outdated or damaged, or in any case with `again`.

        `on_progress` hears bytes done, bytes in all and words. Cancelling ends what was started; what was fetched is
        kept for the next attempt. Raises `SlmDeskError`: `toolchain_unsupported`, `toolchain_busy`, `offline`,
        `uv_missing`, `disk_full`, `index_unreachable`, `package_missing`, `package_hash_wrong`, `certificate_invalid`,
        `python_missing`, `toolchain_damaged` (what was made does not work), `toolchain_failed`.
        """
        found = await asyncio.to_thread(self.status, name)
        if found.state != "ready" or again:
            made_of = self.recipe(name)
            maker = Maker(made_of, self.folder, self._network(), on_progress or _silent, log or _unheard)
            await maker.make()
        return self.get(name)

    async def check(self, name: str) -> list[str]:
        """Everything that is wrong with it: every file against its hash, then each package imported. Empty: whole.

        Raises as `get`.
        """
        toolchain = self.get(name)
        wrong = await asyncio.to_thread(_wrong_files, toolchain.folder)
        if not wrong:
            try:
                await making.probe(toolchain.folder, self.recipe(name))
            except SlmDeskError as error:
                wrong.append(error.message)
        return wrong

    async def repair(
        self, name: str, on_progress: Progress | None = None, log: Callable[[str], None] | None = None
    ) -> Toolchain:
        """Make it anew. Until that is done the old one stays. Raises as `ensure`."""
        return await self.ensure(name, on_progress, log, again=True)

    async def remove(self, name: str) -> int:
        """Remove it, and what an unfinished attempt left. Bytes freed. Raises `SlmDeskError`: `toolchain_busy`,
        `file_unwritable`."""
        made_of = self.recipe(name)
        async with held(self.folder, name):
            return await asyncio.to_thread(self._remove, made_of.name)

    def _remove(self, name: str) -> int:
        freed = 0
        try:
            for folder in [*self.folder.glob(f"{name}-*"), *self.folder.glob(f"{MAKING}{name}-*")]:
                freed += making.size_of(folder)
                making.remove_folder(folder)
            if not any(self.status(other).state == "ready" for other in self.names()):
                for rest in (".cache", ".python"):
                    freed += making.size_of(self.folder / rest)
                    making.remove_folder(self.folder / rest)
        except OSError as error:
            raise writing_error(self.folder, error) from error
        return freed

    def _network(self) -> Network:
        return Network(
            offline=bool(self._settings.get("network.offline")),
            proxy=str(self._settings.get("network.proxy")).strip(),
            ca_file=str(self._settings.get("network.ca_file")).strip(),
        )


def damaged(name: str, why: str) -> SlmDeskError:
    """The error for a toolchain that is there but not whole."""
    return SlmDeskError(
        "toolchain_damaged",
        f"The toolchain “{name}” is damaged: {why.rstrip('.')}.",
        "Repair it: it is made again.",
    )


def _facts(folder: Path, name: str) -> dict[str, Any]:
    """What the marker says. Raises `SlmDeskError("toolchain_damaged")`."""
    try:
        with (folder / MARKER).open("rb") as file:
            facts = json.loads(file.read(_MARKER_LIMIT))
        return {
            "files": dict(facts["files"]),
            "packages": dict(facts["packages"]),
            "bytes": int(facts["bytes"]),
            "seconds": float(facts["seconds"]),
            "digest": facts["digest"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(name, f"{MARKER} cannot be read ({error})") from error


def _glance(folder: Path, name: str) -> None:
    """Raises `SlmDeskError("toolchain_damaged")`: also when the Python it was made with has gone since."""
    if not python_of(folder).is_file():
        raise damaged(name, "its Python is gone; it was removed or updated since")
    if not (folder / SOURCE).is_dir():
        raise damaged(name, "its source files are not there")


def _wrong_files(folder: Path) -> list[str]:
    """Files that are missing or not what they were: the source by our marker, packages by their own records."""
    facts = _facts(folder, folder.name)
    wrong = []
    for place, digest in facts["files"].items():
        if _hash(folder / SOURCE / place).hex() != digest:
            wrong.append(f"{SOURCE}/{place}")
    for packages in [*folder.glob("env/lib/python*/site-packages"), *folder.glob("env/Lib/site-packages")]:
        there = set()
        for record in packages.glob("*.dist-info/RECORD"):
            there.add(record.parent.name.partition("-")[0].replace("_", "-").replace(".", "-").lower())
            wrong += _wrong_in(packages, record)
        expected = {name.replace("_", "-").replace(".", "-").lower() for name in facts["packages"]}
        wrong += [f"{name} is not there" for name in sorted(expected - there)]
    return wrong


def _wrong_in(packages: Path, record: Path) -> list[str]:
    wrong = []
    with record.open(encoding="utf-8", newline="") as file:
        for place, digest, *_ in csv.reader(file):
            kind, _, value = digest.partition("=")
            if kind != "sha256":
                continue  # a record does not hold its own hash, nor those of compiled files
            found = base64.urlsafe_b64encode(_hash(packages / place)).rstrip(b"=").decode()
            if found != value:
                wrong.append(place)
    return wrong


def _hash(path: Path) -> bytes:
    """Empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _silent(done: float, total: float, detail: str) -> None:
    """Nobody asked how far it is."""


def _unheard(line: str) -> None:
    """Nobody asked for the log."""
