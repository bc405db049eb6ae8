"""Will it run here: the forecast for a model of the library, a file, or a repository of a hub."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.hardware import memory
from slmdesk.formats import gguf
from slmdesk.formats.adapters import adapters_bytes
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.purpose import companion_named, not_for_chat
from slmdesk.formats.remote import read_remote_header
from slmdesk.formats.split import read_whole
from slmdesk.inference.model_settings import NOTHING
from slmdesk.memory.fit import Fit, Wishes, calibration_in, fit
from slmdesk.memory.offload import LayerWeights
from slmdesk.memory.weights import weights_bytes

if TYPE_CHECKING:
    from slmdesk.core.paths import Paths
    from slmdesk.core.settings import Settings
    from slmdesk.engines.devices import DeviceList
    from slmdesk.hub.access import HubAccess
    from slmdesk.inference.model_settings import ModelSettings
    from slmdesk.library.library import Library, LibraryFile

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_PREFERRED = ("Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "Q5_K_M", "Q8_0", "BF16", "F16")
_TRIES = 8  # headers of one repository that are read for its best file
_CONFIG_LIMIT = 4 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class FitReport:
    """What was looked at, and its fit. `source`: "library", "file", "hub", or "list" (the figures of the built-in
    list, for a hub that cannot be asked)."""

    model: str
    source: str
    fit: Fit

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model, "source": self.source, **self.fit.to_json()}


@dataclass(frozen=True, slots=True)
class RemoteChoice:
    """A GGUF of a repository: its first part's path, and the bytes of all its parts."""

    path: str
    size_bytes: int
    first_bytes: int


class Fitting:
    """Answers for one machine. `hub` None: only what lies here can be looked at; `devices` None: no GPU is used."""

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        library: Library,
        hub: HubAccess | None = None,
        devices: DeviceList | None = None,
    ) -> None:
        self._devices = devices
        self._settings = settings
        self._library = library
        self._hub = hub
        self._calibration = calibration_in(paths.data)
        self._headers: dict[Path, tuple[int, tuple[Architecture, int, LayerWeights | None]]] = {}

    async def fit(self, reference: str, *, context: int = 0) -> FitReport:
        """The fit of a library id, a path (of a folder with safetensors, too), or `publisher/name[:QUANT|/FILE]` of
        the hub.

        Raises what `Library.resolve` and the hub raise, `not_a_repo`, `fit_unknown` for what has no forecast, and the
        errors of damaged headers.
        """
        if context < 0:
            raise SlmDeskError(
                "context_invalid", "A context has at least one token.", "Give a positive number."
            )
        folder = await asyncio.to_thread(_as_folder, reference)
        if folder is not None:
            weights = await asyncio.to_thread(_weights_in, folder)
            architecture = await asyncio.to_thread(_described, folder, str(folder))
            return FitReport(str(folder), "file", await self.of(architecture, weights, context=context))
        try:
            file = await self._library.resolve(reference, every_format=True)
        except SlmDeskError as error:
            if error.code != "model_not_found" or self._hub is None or not _REPO.match(reference):
                raise
            if Path(reference).is_absolute():
                raise
            return await self._remote(reference, context)
        if file.problem is not None:
            raise file.problem
        source = "file" if Path(file.id).is_absolute() else "library"
        kept = await asyncio.to_thread(self._library.kept.of, file)
        return FitReport(file.id, source, await self.of_file(file, kept.effective, context=context))

    async def of_file(
        self, file: LibraryFile, kept: ModelSettings = NOTHING, *, context: int = 0, freed: int = 0
    ) -> Fit:
        """The fit of a file of the library, loaded as `kept` says; `freed` bytes become free before, those of the same
        model that is loaded now. Raises as `fit`."""
        known = self._headers.get(file.path)
        if known is None or known[0] != file.size_bytes:
            known = self._headers[file.path] = file.size_bytes, await asyncio.to_thread(_local, file)
        architecture, weights, layers = known[1]
        adapters = await asyncio.to_thread(lambda: adapters_bytes(self._library.kept.of(file).adapters))
        return await self.of(
            architecture, weights + adapters, context=context, layers=layers, kept=kept, freed=freed
        )

    async def of(
        self,
        architecture: Architecture,
        weights: int,
        *,
        context: int = 0,
        layers: LayerWeights | None = None,
        kept: ModelSettings = NOTHING,
        freed: int = 0,
    ) -> Fit:
        """The fit of a known architecture, for the settings' parallel answers, cache type, context and GPU layers;
        what is `kept` for the model goes before them. `freed` bytes are free by then beside those that are now."""
        wishes = Wishes.of(self._settings, context=context, kept=kept)
        room = None
        if self._devices is not None and wishes.gpu_layers != 0:
            room = (await self._devices.now()).room
        correction = await asyncio.to_thread(self._calibration.correction)
        # A thread: the longest context that fits is found by many forecasts.
        return await asyncio.to_thread(
            fit,
            architecture,
            weights,
            wishes,
            available=memory()[1] + freed,
            calibration=correction,
            room=room,
            layers=layers,
        )

    async def of_remote_gguf(
        self, repo: str, choice: RemoteChoice, *, revision: str = "main", context: int = 0
    ) -> Fit:
        """The fit of a GGUF on the hub, from the first megabytes of its header. Raises as `fit`."""
        hub = self._hub
        assert hub is not None

        async def fetch(start: int, end: int) -> bytes:
            return await hub.get_file(repo, choice.path, revision=revision, start=start, count=end - start)

        header = await read_remote_header(fetch, name=choice.path, file_bytes=choice.first_bytes)
        if (problem := not_for_chat(header)) is not None:
            raise problem
        weights = weights_bytes(header, file_bytes=choice.size_bytes)
        architecture = Architecture.from_gguf(header)
        layers = LayerWeights.of(header, architecture, file_bytes=choice.size_bytes)
        return await self.of(architecture, weights, context=context, layers=layers)

    async def _of_best(
        self, repo: str, choices: list[RemoteChoice], wanted: str, context: int
    ) -> tuple[RemoteChoice, Fit]:
        """The choice and its fit; one that its header calls no model gives way to the next."""
        left = list(choices)
        for _ in range(_TRIES):
            choice = choose(left, wanted, repo)
            try:
                return choice, await self.of_remote_gguf(repo, choice, context=context)
            except SlmDeskError as error:
                left.remove(choice)
                if error.code != "model_not_chat" or not _is_there(left, wanted, repo):
                    raise
        raise SlmDeskError(
            "fit_unknown", f"{repo} holds no model to chat with.", "Choose another repository."
        )

    async def _remote(self, reference: str, context: int) -> FitReport:
        assert self._hub is not None
        repo, wanted = split_reference(reference)
        answer = await self._hub.get_json(f"/api/models/{repo}", {"blobs": "true"}, repo=repo)
        sizes = _sizes(answer.data)
        choices = gguf_choices(sizes)
        if choices:
            choice, found = await self._of_best(repo, choices, wanted, context)
            return FitReport(f"{repo}/{choice.path}", "hub", found)
        weights = sum(size for path, size in sizes.items() if path.endswith(".safetensors"))
        if not weights or "config.json" not in sizes:
            raise SlmDeskError(
                "fit_unknown",
                f"{repo} holds no GGUF and no safetensors with a config.json, so its memory cannot be forecast.",
                "Choose a repository with GGUF files; their names often end in -GGUF.",
            )
        data = await self._hub.get_file(repo, "config.json", count=_CONFIG_LIMIT)
        found = await self.of(Architecture.from_config(_config(repo, data)), weights, context=context)
        return FitReport(repo, "hub", found)


def split_reference(reference: str) -> tuple[str, str]:
    """`publisher/name:QUANT` or `publisher/name/FILE` -> the repository and what of it is meant ("": the best)."""
    name, _, quant = reference.partition(":")
    segments = name.split("/", 2)
    if len(segments) < 2 or not _REPO.fullmatch("/".join(segments[:2])):
        raise SlmDeskError(
            "not_a_repo",
            f"{reference!r} names no repository.",
            "It looks like publisher/name or publisher/name:Q4_K_M.",
        )
    return "/".join(segments[:2]), quant or (segments[2] if len(segments) > 2 else "")


def gguf_choices(sizes: dict[str, int]) -> list[RemoteChoice]:
    """The GGUF models among a repository's files, split ones as one; no projectors or importance matrices."""
    groups: dict[str, list[str]] = {}
    for path in sizes:
        name = PurePosixPath(path).name.lower()
        if not name.endswith(".gguf") or companion_named(name.removesuffix(".gguf")):
            continue
        part = _PART.fullmatch(path)
        groups.setdefault(part[1] if part else path, []).append(path)
    found = []
    for paths in groups.values():
        first = min(paths)
        found.append(RemoteChoice(first, sum(sizes[path] for path in paths), sizes[first]))
    return found


def choose(choices: list[RemoteChoice], wanted: str, repo: str) -> RemoteChoice:
    """The choice of that quant or file; without a wish the usual quant. Raises `file_not_in_repo`."""
    if wanted:
        exact = [choice for choice in choices if choice.path == wanted]
        asked = wanted.lower()
        word = re.compile(rf"(?<![a-z0-9]){re.escape(asked)}(?![a-z0-9_])")
        named = exact or [choice for choice in choices if word.search(choice.path.lower())]
        if not named:
            names = ", ".join(PurePosixPath(choice.path).name for choice in choices[:6])
            raise SlmDeskError("file_not_in_repo", f"{repo} has no file {wanted!r}.", f"It has {names}.")
        return min(named, key=lambda choice: len(choice.path))
    for quant in _PREFERRED:
        for choice in choices:
            if quant.lower() in choice.path.lower():
                return choice
    return min(choices, key=lambda choice: choice.size_bytes)


def _is_there(choices: list[RemoteChoice], wanted: str, repo: str) -> bool:
    try:
        return bool(choices) and bool(choose(choices, wanted, repo))
    except SlmDeskError:
        return False


def _local(file: LibraryFile) -> tuple[Architecture, int, LayerWeights | None]:
    """Blocks: reads the header, or the folder's config.json."""
    if file.format == "gguf":
        header = read_whole(file.path)
        problem = not_for_chat(header)
        if problem is not None:
            raise problem
        gguf.check(header)
        architecture = Architecture.from_gguf(header)
        layers = LayerWeights.of(header, architecture, file_bytes=file.size_bytes)
        return architecture, weights_bytes(header, file_bytes=file.size_bytes), layers
    return _described(file.path, file.id), file.size_bytes, None


def _as_folder(reference: str) -> Path | None:
    """A folder with safetensors, where `reference` is the path of one; None for everything else."""
    folder = Path(reference).expanduser()
    try:
        found = folder.is_dir() and any(folder.glob("*.safetensors"))
    except (OSError, ValueError):
        return None
    return folder.absolute() if found else None


def _weights_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _described(folder: Path, name: str) -> Architecture:
    try:
        return Architecture.from_config(_config(name, (folder / "config.json").read_bytes()))
    except OSError as error:
        raise SlmDeskError(
            "fit_unknown",
            f"{name} has no readable config.json, so its memory cannot be forecast.",
            "Choose the folder of the whole model.",
        ) from error


def _config(name: str, data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data[:_CONFIG_LIMIT])
    except (ValueError, RecursionError) as error:
        raise SlmDeskError("config_damaged", f"The config.json of {name} cannot be read.", "") from error
    if not isinstance(content, dict):
        raise SlmDeskError("config_damaged", f"The config.json of {name} is not a list of values.", "")
    return content


def _sizes(data: Any) -> dict[str, int]:
    """File sizes from the hub's description of a repository."""
    siblings = data.get("siblings") if isinstance(data, dict) else None
    found: dict[str, int] = {}
    for sibling in siblings if isinstance(siblings, list) else []:
        if not isinstance(sibling, dict) or not isinstance(sibling.get("rfilename"), str):
            continue
        lfs = sibling.get("lfs")
        size = (lfs.get("size") if isinstance(lfs, dict) else None) or sibling.get("size") or 0
        found[sibling["rfilename"]] = size if isinstance(size, int) and size > 0 else 0
    return found
