"""Will it run here: the forecast for a model of the library, a file, a folder, or a repository of a hub.

Of what lies on a hub it says what the catalog's page says; of what lies here it reads the headers.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.catalog import names
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.hardware import memory
from slmdesk.formats import gguf
from slmdesk.formats.adapters import adapters_bytes
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.purpose import not_for_chat
from slmdesk.formats.split import read_whole
from slmdesk.inference.model_settings import NOTHING
from slmdesk.memory.fit import Fit, calibration_in, fit, loading_of
from slmdesk.memory.offload import LayerWeights
from slmdesk.memory.texts import SAMPLES, fit_texts
from slmdesk.memory.weights import weights_bytes

if TYPE_CHECKING:
    from slmdesk.catalog.catalog import Catalog
    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.pages import ModelPage
    from slmdesk.core.settings import Settings
    from slmdesk.engines.devices import DeviceList
    from slmdesk.inference.model_settings import ModelSettings
    from slmdesk.library.library import Library, LibraryFile

_CONFIG_LIMIT = 4 * 1024 * 1024  # bytes
_FORECAST = frozenset({"gguf", "safetensors", "mlx"})  # kinds of choices whose architecture can be learned


@dataclass(frozen=True, slots=True)
class FitReport:
    """What was looked at, and its fit. `source`: "library", "file", "hub", or "list" (the figures of the built-in
    list, for a hub that cannot be asked)."""

    model: str
    source: str
    fit: Fit

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model, "source": self.source, **self.fit.to_json()}


class Fitting:
    """Answers for one machine. `catalog` None: only what lies here can be looked at; `devices` None: no GPU is used.
    `data` is the folder that keeps what earlier loads took."""

    def __init__(
        self,
        data: Path,
        settings: Settings,
        library: Library,
        catalog: Catalog | None = None,
        devices: DeviceList | None = None,
    ) -> None:
        self._settings = settings
        self._library = library
        self._catalog = catalog
        self._devices = devices
        self._calibration = calibration_in(data)
        self._headers: dict[Path, tuple[int, tuple[Architecture, int, LayerWeights | None]]] = {}

    async def fit(self, reference: str, *, context: int = 0) -> FitReport:
        """The fit of a library id, a path (of a folder with safetensors, too), or `publisher/name[:QUANT|/FILE]` of
        a hub. `context` 0: the setting's.

        Raises what `Library.resolve`, `Catalog.page_or_listed` and `Catalog.choose` raise, `context_invalid`,
        `fit_unknown` for what has no forecast, and the errors of damaged headers.
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
            named = None if Path(reference).is_absolute() else names.one_model(reference)
            if error.code != "model_not_found" or self._catalog is None or named is None:
                raise
            return await self._of_remote(self._catalog, *named, context)
        if file.problem is not None and file.serves is None:
            raise file.problem
        source = "file" if Path(file.id).is_absolute() else "library"
        kept = await asyncio.to_thread(self._library.kept.of, file)
        return FitReport(file.id, source, await self.of_file(file, kept.effective, context=context))

    async def of_file(
        self, file: LibraryFile, kept: ModelSettings = NOTHING, *, context: int = 0, freed: int = 0
    ) -> Fit:
        """The fit of a file of the library, loaded as `kept` says; `freed` bytes become free before, those of the same
        model that is loaded now. Raises as `fit`."""
        if file.serves in {"embed", "rank"}:
            return await self._of_texts(file, kept, context=context, freed=freed)
        known = self._headers.get(file.path)
        if known is None or known[0] != file.size_bytes:
            known = self._headers[file.path] = file.size_bytes, await asyncio.to_thread(_local, file)
        architecture, weights, layers = known[1]
        with_it = await asyncio.to_thread(lambda: self._library.kept.of(file).loaded_with)
        adapters = adapters_bytes([adapter.path for adapter in with_it])
        return await self.of(
            architecture, weights + adapters, context=context, layers=layers, kept=kept, freed=freed
        )

    async def _of_texts(self, file: LibraryFile, kept: ModelSettings, *, context: int, freed: int) -> Fit:
        """The fit of a model that makes vectors of texts, or ranks them."""
        loading = loading_of(self._settings, context=context, kept=kept)

        def work() -> Fit:
            correction = self._calibration.correction(SAMPLES)
            return fit_texts(
                read_whole(file.path),
                loading,
                file_bytes=file.size_bytes,
                available=memory()[1] + freed,
                calibration=correction,
            )

        return await asyncio.to_thread(work)

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
        loading = loading_of(self._settings, context=context, kept=kept)
        room = None
        if self._devices is not None and loading.gpu_layers != 0:
            room = (await self._devices.now()).room
        correction = await asyncio.to_thread(self._calibration.correction)
        # A thread: the longest context that fits is found by many forecasts.
        return await asyncio.to_thread(
            fit,
            architecture,
            weights,
            loading,
            available=memory()[1] + freed,
            calibration=correction,
            room=room,
            layers=layers,
        )

    async def _of_remote(
        self, catalog: Catalog, repo: str, wanted: str, revision: str, context: int
    ) -> FitReport:
        page = await catalog.page_or_listed(repo, revision=revision)
        if not page.choices:
            raise _unknown(f"{page.repo} holds no GGUF and no safetensors")
        try:
            choice = await catalog.choose(page, wanted, context=context)
        except SlmDeskError as error:
            if error.code != "nothing_to_choose":
                raise
            choice = replace(page.choices[0], kind="other")
        if choice.kind not in _FORECAST:
            raise await _no_chat(catalog, page, choice)
        found = choice.fit
        if found is None:  # it was named, or is in a format that is converted first
            architecture = await catalog.architecture(page)
            found = await self.of(architecture, choice.weights_bytes, context=context)
        if page.listed:
            return FitReport(f"{page.repo}:{choice.id}", "list", found)
        name = f"{page.repo}/{choice.files[0].path}" if choice.kind == "gguf" else page.repo
        return FitReport(name, "hub", found)


async def _no_chat(catalog: Catalog, page: ModelPage, choice: Choice) -> SlmDeskError:
    """Why a choice has no forecast: what its header says it is, where it has one."""
    first = choice.files[0]
    if first.path.lower().endswith(".gguf"):
        revision = page.info.revision or "main"
        header = await catalog.header(page.repo, first.path, revision=revision, file_bytes=first.size)
        if (problem := not_for_chat(header)) is not None:
            return problem
    return _unknown(f"{choice.id} of {page.repo} is no model to chat with")


def _unknown(why: str) -> SlmDeskError:
    return SlmDeskError(
        "fit_unknown",
        f"{why}, so its memory cannot be forecast.",
        "Choose a repository with GGUF files; their names often end in -GGUF.",
    )


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
