"""Quantizing as front ends use it: look first, start, see what came of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.hardware import memory
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.quants import FULL_PRECISION
from slmdesk.library.library import BUILT_IN
from slmdesk.library.names import LOCAL
from slmdesk.memory.fit import calibration_in, fit, loading_of
from slmdesk.quantize import planning, registering
from slmdesk.quantize.folder_forecast import folder_forecast
from slmdesk.quantize.hf_folder import examine
from slmdesk.quantize.host import run_child
from slmdesk.quantize.job import KIND
from slmdesk.quantize.placing import refuse_existing
from slmdesk.quantize.planning import Destination, QuantizePlan
from slmdesk.quantize.protocol import CompareSpec, Options
from slmdesk.quantize.recommending import ADVISED, Recommendation, recommend
from slmdesk.quantize.request import Request
from slmdesk.quantize.results import ResultRow, result_rows
from slmdesk.quantize.source import SourceGguf, open_source, stem_of
from slmdesk.quantize.store import MIGRATIONS, Quant, QuantStore
from slmdesk.quantize.tensor_report import tensor_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.core.database import Database
    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.core.paths import Paths
    from slmdesk.core.settings import Settings
    from slmdesk.engines.devices import DeviceList
    from slmdesk.library.library import Library, LibraryFile
    from slmdesk.memory.offload import DeviceRoom

__all__ = ["MIGRATIONS", "Quantizable", "Quantizing"]

_BEST_SOURCES = ("BF16", "F32", "F16")  # of several full files of one model


@dataclass(frozen=True, slots=True)
class Quantizable:
    """What would be quantized: the model's id ("" for a file outside the library), the file or safetensors
    folder, and the folder in which its quants belong."""

    model: str
    path: Path
    home: Path

    @property
    def needs_conversion(self) -> bool:
        return self.path.suffix.lower() != ".gguf"


@dataclass(frozen=True, slots=True)
class GreedyAnswer:
    """A greedy answer. `pieces` are the texts of its `tokens`; `stopped`: the model ended it itself."""

    path: Path
    tokens: list[int]
    pieces: list[str]
    stopped: bool

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Compared:
    """Two answers to one prompt. `differs_at`: the first token (from 0) in which they part; None: they are the
    same."""

    prompt: str
    first: GreedyAnswer
    second: GreedyAnswer
    differs_at: int | None


@dataclass(frozen=True, slots=True)
class Fetch:
    """A source that a download still brings: the download's job, what `origin` will be, and its quant."""

    job: str
    origin: Quantizable
    quant: str


class Quantizing:
    """The room for front ends. Methods raise `SlmDeskError` and block no event loop."""

    def __init__(
        self,
        paths: Paths,
        database: Database,
        library: Library,
        jobs: Jobs,
        settings: Settings,
        *,
        devices: DeviceList | None = None,
    ) -> None:
        self._devices = devices
        self._paths = paths
        self._settings = settings
        self._library = library
        self._jobs = jobs
        self.store = QuantStore(database)

    async def origin(self, model: str) -> Quantizable:
        """What `model` (library id or path) means here: of a model with several files the fullest one.

        Raises `model_not_found`, `source_unsuitable`, …
        """
        path = await asyncio.to_thread(_as_path, model)
        if path is not None:
            known = await self._in_library(path)
            return known or Quantizable("", path, self._paths.models / LOCAL / (path.stem or "model"))
        file = await self._library.resolve(model)
        better = await self._fullest(file) if ":" not in model.rsplit("/", 1)[-1] else file
        return self._of(better)

    async def forecast(self, request: Request) -> QuantizePlan:
        """Sizes, times and needs of everything asked for. Nothing is written.

        Those of a safetensors folder are estimates: its GGUF is not there yet. Raises `imatrix_needed`, and what
        `open_source`, `hf_folder.examine` and the child raise.
        """
        request = request.checked()
        origin = await self.origin(request.model)
        if origin.needs_conversion:
            return await self._folder_forecast(request, origin)
        source = await asyncio.to_thread(open_source, origin.path)
        place = planning.place_for(request, source, origin.home)
        plan = await planning.forecast(request, source, place, self._paths, await self.store.paces())
        return await asyncio.to_thread(
            self._with_fits, plan, lambda: Architecture.from_gguf(source.header), await self._gpu()
        )

    async def tensors(self, request: Request, plan: QuantizePlan) -> dict[str, list[dict[str, Any]]]:
        """For each target of a forecast what becomes of every tensor: `name`, `shape`, `from`, `to`, `bytes`, and
        `meant` where it could not have the type that was meant for it. Raises `convert_first`, and as `open_source`.
        """
        origin = await self.origin(request.model)
        if origin.needs_conversion:
            raise _convert_first(origin)
        source = await asyncio.to_thread(open_source, origin.path)
        return await asyncio.to_thread(tensor_report, source, plan)

    async def _folder_forecast(self, request: Request, origin: Quantizable) -> QuantizePlan:
        await asyncio.to_thread(planning.check_request, request)
        paces, gpu = await self.store.paces(), await self._gpu()

        def look() -> QuantizePlan:
            known = (self._paths.resources / "toolchains" / "convert-architectures.txt").read_text("utf-8")
            folder = examine(origin.path, known.split())
            config = json.loads((origin.path / "config.json").read_text("utf-8"))
            output = Path(request.output).expanduser().absolute() if request.output else origin.home
            plan = folder_forecast(
                request,
                folder,
                Destination(output, origin.path.name),
                paces,
                int(config.get("vocab_size") or 0),
            )
            return self._with_fits(plan, lambda: Architecture.from_config(config), gpu)

        return await asyncio.to_thread(look)

    async def _gpu(self) -> DeviceRoom | None:
        """The GPU that would take layers of the results, where one is used."""
        if self._devices is None or not self._settings.get("engine.gpu_layers"):
            return None
        return (await self._devices.now()).room

    def _with_fits(
        self, plan: QuantizePlan, architecture_of: Callable[[], Architecture], gpu: DeviceRoom | None
    ) -> QuantizePlan:
        """Whether each quant will run here, and with how long a context."""
        try:
            architecture = architecture_of()
        except SlmDeskError:
            return plan  # an architecture whose memory nobody can forecast
        loading, available = loading_of(self._settings), memory()[1]
        correction = calibration_in(self._paths.data).correction()
        return replace(
            plan,
            quants=tuple(
                replace(
                    quant,
                    fit=fit(
                        architecture,
                        quant.bytes,
                        loading,
                        available=available,
                        calibration=correction,
                        room=gpu,
                    ),
                )
                for quant in plan.quants
            ),
        )

    async def recommend(self, model: str, settings: Settings) -> Recommendation:
        """What to choose for this machine, and why. Raises as `forecast` does, and `architecture_incomplete`."""
        origin = await self.origin(model)
        if origin.needs_conversion:
            raise _convert_first(origin)
        known = await self.store.all()
        gpu = await self._gpu()
        source = await asyncio.to_thread(open_source, origin.path)
        sizes = await planning.sizes(source, ADVISED) if source.quant not in FULL_PRECISION else None

        def look() -> Recommendation:
            return recommend(
                source,
                Architecture.from_gguf(source.header),
                loading_of(settings),
                available=memory()[1],
                correction=calibration_in(self._paths.data).correction(),
                known=known,
                gpu=gpu,
                sizes=sizes,
            )

        return await asyncio.to_thread(look)

    async def start(self, request: Request, *, fetch: Fetch | None = None) -> Job:
        """Hand the job over. What can be seen beforehand is refused at once: `output_exists`, `source_missing`,
        `imatrix_needed`, `imatrix_unreadable`, `text_unreadable`, … With `fetch` it waits for that download."""
        request = request.checked()
        origin = fetch.origin if fetch is not None else await self.origin(request.model)
        place = await asyncio.to_thread(self._place, request, origin, fetch)
        if fetch is None and not origin.needs_conversion:
            source = await asyncio.to_thread(open_source, origin.path)
            await planning.check_texts(request, source, self._paths)
        title = f"Quantize {place.name} to {', '.join(request.targets)}"
        return await self._jobs.submit(
            KIND,
            title,
            {
                "model": origin.model,
                "source": str(origin.path),
                "output": str(place.folder),
                "name": place.name,
                "request": request.to_json(),
                "fetch": fetch.job if fetch is not None else "",
            },
        )

    async def measurable(self, origin: Quantizable) -> list[Path]:
        """The quants of a source that are there and were never measured: those made here, and the model's others."""
        rows = await self.rows(origin)
        known = {row.path for row in rows if row.measured}
        found = [row.path for row in rows if not row.is_source]
        found += [
            file.path
            for model in await self._library.models()
            for file in model.files
            if (model.id == origin.model or file.path.is_relative_to(origin.home))
            and file.problem is None
            and file.format == "gguf"
        ]
        return [
            path
            for path in dict.fromkeys(found)
            if path not in known and path != origin.path and path.suffix.lower() == ".gguf"
        ]

    async def measure(
        self, model: str, files: Sequence[str | Path], *, text: str = "", threads: int = 0
    ) -> Job:
        """Hand over a job that makes nothing: what these files (paths or library ids) lost against `model`, their
        source. Without files those of `measurable`.

        Raises what can be seen beforehand: `nothing_to_measure`, `source_missing`, `vocabulary_differs`,
        `source_differs`, `text_too_short`, `text_unreadable`, …
        """
        origin = await self.origin(model)
        paths = [await self._quant_path(file) for file in files] or await self.measurable(origin)
        if not paths:
            raise SlmDeskError(
                "nothing_to_measure",
                f"There is no quant of {origin.model or origin.path.name} that was not measured yet.",
                "Name GGUF files that were made of it.",
            )
        request = Request(model, (), measure=True, text=text, options=Options(threads=threads))
        if origin.needs_conversion:
            await asyncio.to_thread(lambda: [open_source(path) for path in paths])
            name = origin.path.name
        else:
            source = await asyncio.to_thread(open_source, origin.path)
            await asyncio.to_thread(registering.all_found, paths, source)
            await planning.check_texts(request, source, self._paths)
            name = stem_of(source.path, source.quant)
        title = f"Measure {paths[0].name}" if len(paths) == 1 else f"Measure {len(paths)} quants of {name}"
        return await self._jobs.submit(
            KIND,
            title,
            {
                "model": origin.model,
                "source": str(origin.path),
                "output": str(origin.home),
                "name": name,
                "request": request.to_json(),
                "measure": [str(path) for path in paths],
            },
        )

    async def _quant_path(self, file: str | Path) -> Path:
        path = await asyncio.to_thread(_as_path, str(file))
        return path if path is not None else (await self._library.resolve(str(file))).path

    async def refuse(self, request: Request, fetch: Fetch) -> None:
        """Raise what `start` would, before the download is started."""
        await asyncio.to_thread(self._place, request.checked(), fetch.origin, fetch)

    async def compare(
        self,
        first: str | Path,
        second: str | Path,
        prompt: str,
        *,
        most_tokens: int = 128,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> Compared:
        """What two GGUF files (paths) answer to one prompt, both taking their likeliest token every time.

        Raises `prompt_empty`, `context_exceeded`, and what a load raises. Cancelling ends the child.
        """
        spec = CompareSpec([str(first), str(second)], prompt, max(1, most_tokens))
        found = await run_child(spec, on_progress=on_progress)
        one, other = (
            GreedyAnswer(Path(answer["path"]), answer["tokens"], answer["pieces"], answer["stopped"])
            for answer in found["answers"]
        )
        return Compared(prompt, one, other, found["differs_at"])

    async def results(self, model: str) -> list[Quant]:
        """What was made and measured of a model (library id, or the path of the source)."""
        found = await self.store.all()
        return [quant for quant in found if model in {quant.model, quant.source, quant.path}]

    async def rows(self, origin: Quantizable, recommended: str = "") -> list[ResultRow]:
        """The quants of a source that are still there, and the source itself once it was measured."""
        known = {quant.path: quant for quant in await self.results(origin.model or str(origin.path))}
        known |= {quant.path: quant for quant in await self.results(str(origin.path))}
        rows = result_rows(known.values(), recommended)
        there = await asyncio.to_thread(lambda: {row.path for row in rows if row.path.exists()})
        return [row for row in rows if row.path in there]

    def _place(self, request: Request, origin: Quantizable, fetch: Fetch | None = None) -> Destination:
        """Where results go; refuses what can be refused before anything runs."""
        planning.check_request(request)
        if fetch is not None and not origin.needs_conversion:
            folder = Path(request.output).expanduser().absolute() if request.output else origin.home
            place, parts = Destination(folder, stem_of(origin.path, fetch.quant)), 1
        elif origin.needs_conversion:
            folder = Path(request.output).expanduser().absolute() if request.output else origin.home
            place, parts = Destination(folder, origin.path.name), 1
        else:
            source: SourceGguf = open_source(origin.path)
            planning.check_patterns(request, source)
            place, parts = planning.place_for(request, source, origin.home), len(source.parts)
        refuse_existing(file for name in request.targets for file in place.final(request, name, parts))
        return place

    async def _in_library(self, path: Path) -> Quantizable | None:
        for model in await self._library.models():
            for file in model.files:
                if path in {file.path, *file.parts}:
                    return self._of(file)
        return None

    def _of(self, file: LibraryFile) -> Quantizable:
        if file.problem is not None:
            raise file.problem
        if file.format == "onnx":
            raise SlmDeskError(
                "source_unsuitable", f"{file.id} is ONNX, which is not quantized here.", "Choose a GGUF file."
            )
        model = file.id.partition(":")[0]
        if file.home is not None:
            return Quantizable(model, file.path, file.home)
        if model == BUILT_IN:
            # Its quants are a model of their own, which a person may delete again.
            return Quantizable(model, file.path, self._paths.models / LOCAL / model.split("/")[1])
        if file.shipped:
            return Quantizable(model, file.path, self._library.folders[0].joinpath(*model.split("/")))
        return Quantizable("", file.path, self._paths.models / LOCAL / file.path.stem)

    async def _fullest(self, file: LibraryFile) -> LibraryFile:
        """Of the files of one model the one that lost least."""
        model = file.id.partition(":")[0]
        files = [
            f for m in await self._library.models() if m.id == model for f in m.files if f.problem is None
        ]
        for quant in _BEST_SOURCES:
            found = [f for f in files if f.quant == quant and f.format == "gguf"]
            if found:
                return found[0]
        folders = [f for f in files if f.format == "safetensors"]
        return folders[0] if folders and file.quant not in FULL_PRECISION else file


def _convert_first(origin: Quantizable) -> SlmDeskError:
    return SlmDeskError(
        "convert_first",
        f"{origin.path.name} is a safetensors folder; its exact sizes are known once it is converted.",
        "Start the job: it converts first.",
    )


def _as_path(model: str) -> Path | None:
    """A GGUF file or a folder with safetensors files, where `model` names one; None for a library id."""
    path = Path(model).expanduser()
    if path.suffix.lower() != ".gguf" and not (path.is_dir() and any(path.glob("*.safetensors"))):
        return None
    if not path.exists():
        raise SlmDeskError("source_missing", f"{path.absolute()} is not there.", "Check the path.")
    return path.absolute()
