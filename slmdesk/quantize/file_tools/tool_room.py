"""File tools as front ends use them: look first, start, see what a matrix holds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.library.names import LOCAL
from slmdesk.quantize.file_tools.adapter_tools import adapter_home
from slmdesk.quantize.file_tools.tool_job import KIND
from slmdesk.quantize.file_tools.tool_kinds import tool_for
from slmdesk.quantize.file_tools.tool_requests import (
    AdapterMergeRequest,
    AdapterRequest,
    ConvertRequest,
    MatrixSumRequest,
    ToolRequest,
)
from slmdesk.quantize.hf_folder import read_config
from slmdesk.quantize.hf_projector import has_projector
from slmdesk.quantize.host import run_child
from slmdesk.quantize.peft_folder import examine_adapter
from slmdesk.quantize.placing import refuse_existing
from slmdesk.quantize.protocol import MatrixStatisticsSpec
from slmdesk.quantize.source import stem_of

if TYPE_CHECKING:
    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.core.paths import Paths
    from slmdesk.library.library import Library, LibraryFile
    from slmdesk.quantize.file_tools.tool_plan import ToolPlan

_FOLDERS = (ConvertRequest, AdapterRequest)


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """A request with paths in place of names, and where its results belong."""

    request: ToolRequest
    home: Path


class FileTools:
    """Methods raise `SlmDeskError` and block no event loop."""

    def __init__(self, paths: Paths, library: Library, jobs: Jobs) -> None:
        self._paths = paths
        self._library = library
        self._jobs = jobs

    async def plan(self, request: ToolRequest) -> ToolPlan:
        """What will come out, and how large. Nothing is written. Raises what the tool's `plan` raises, and what
        `Library.resolve` does."""
        found = await self._resolved(request)
        return await asyncio.to_thread(tool_for(found.request, found.home, self._paths).plan)

    async def start(self, request: ToolRequest) -> Job:
        """Hand the job over. Raises as `plan`, and `output_exists`."""
        found = await self._resolved(request)
        plan = await asyncio.to_thread(tool_for(found.request, found.home, self._paths).plan)
        await asyncio.to_thread(refuse_existing, [file.path for file in plan.files])
        return await self._jobs.submit(
            KIND,
            plan.title,
            {
                "request": found.request.to_json(),
                "home": str(found.home),
                "folder": str(plan.folder),
                "model_folder": str(self._model_folder(plan.folder) or ""),
            },
        )

    async def statistics(self, path: str | Path, model: str = "") -> dict[str, Any]:
        """What an importance matrix holds: see `matrix_statistics.statistics`. With a model (library id or path) also
        which of its weights the matrix says nothing about."""
        file = _absolute(str(path))
        source = str((await self._file(model))[0]) if model else ""
        return await run_child(MatrixStatisticsSpec(str(file), source))

    async def has_projector(self, folder: Path) -> bool:
        """Whether a projector can be made of a model's folder."""

        def look() -> bool:
            known = self._paths.resources / "toolchains" / "convert-projectors.txt"
            try:
                return has_projector(read_config(folder), known.read_text("utf-8").split())
            except SlmDeskError:
                return False

        return await asyncio.to_thread(look)

    async def _resolved(self, request: ToolRequest) -> ResolvedRequest:
        if isinstance(request, AdapterRequest):
            return await self._adapter(request)
        if isinstance(request, MatrixSumRequest):
            files = [_absolute(file) for file in (request.source, *request.others)]
            request = replace(request, source=str(files[0]), others=tuple(map(str, files[1:])))
            return ResolvedRequest(request, files[0].parent)
        if isinstance(request, ConvertRequest):
            path, home = await self._folder(request.source)
            return ResolvedRequest(replace(request, source=str(path)), home)
        path, home = await self._file(request.source)
        if isinstance(request, AdapterMergeRequest):
            adapters = tuple((str(_absolute(file)), scale) for file, scale in request.adapters)
            request = replace(request, source=str(path), adapters=adapters)
            return ResolvedRequest(request, adapter_home(self._models / LOCAL, path, adapters))
        return ResolvedRequest(replace(request, source=str(path)), home)

    async def _adapter(self, request: AdapterRequest) -> ResolvedRequest:
        folder = _absolute(request.source)
        home = self._models / LOCAL / folder.name
        base = request.base
        if not base:
            named = (await asyncio.to_thread(examine_adapter, folder)).base
            base = str(await self._known_base(named) or "")
        elif not await asyncio.to_thread(_absolute(base).is_dir):
            base = str((await self._folder(base))[0])
        request = replace(request, source=str(folder), base=str(_absolute(base)) if base else "")
        return ResolvedRequest(request, home)

    async def _known_base(self, named: str) -> Path | None:
        """The folder of the model that an adapter names: where it says, or the library's."""
        if not named:
            return None
        folder = _absolute(named)
        if await asyncio.to_thread((folder / "config.json").is_file):
            return folder
        for model in await self._library.models(every_format=True):
            for file in model.files:
                if model.id.casefold() == named.casefold() and file.format == "safetensors":
                    return file.path
        return None

    async def _file(self, ref: str) -> tuple[Path, Path]:
        """A GGUF file by library id or path, and the folder of its model."""
        path = _absolute(ref)
        named = ref.lower().endswith(".gguf")
        if named and not await asyncio.to_thread(path.is_file):
            raise SlmDeskError("source_missing", f"{path} is not there.", "Check the path.")
        try:
            file = await self._library.resolve(ref)
        except SlmDeskError:
            if not named:
                raise
            return path, self._own_home(path)
        if named:
            return path, self._home_of(file, path)
        if file.problem is not None:
            raise file.problem
        return file.path, self._home_of(file, file.path)

    async def _folder(self, ref: str) -> tuple[Path, Path]:
        """A folder with safetensors by library id or path, and the folder of its model."""
        path = _absolute(ref)
        if await asyncio.to_thread(path.is_dir):
            return path, self._model_folder(path) or self._models / LOCAL / path.name
        for file in await self._library.files(ref):
            if file.format == "safetensors":
                return file.path, self._home_of(file, file.path)
        raise SlmDeskError(
            "source_unsuitable",
            f"{ref} is not here as safetensors, so there is nothing to convert.",
            "Name a folder with config.json and safetensors files.",
        )

    def _home_of(self, file: LibraryFile, path: Path) -> Path:
        if file.home is not None:
            return file.home
        if not file.shipped:
            return self._own_home(path)
        publisher, _, name = file.id.partition(":")[0].partition("/")
        # What is made of the built-in model is a model of its own, which a person may delete again.
        return self._models / (LOCAL if file.shipped == "guide" else publisher) / name

    def _own_home(self, path: Path) -> Path:
        return self._models / LOCAL / (stem_of(path, "") or "model")

    @property
    def _models(self) -> Path:
        return self._library.folders[0]

    def _model_folder(self, folder: Path) -> Path | None:
        """`<models>/<publisher>/<name>` that a folder is or lies in; None for one outside of the library."""
        for root in self._library.folders:
            if folder.is_relative_to(root):
                parts = folder.relative_to(root).parts
                return root.joinpath(*parts[:2]) if len(parts) >= 2 else None
        return None


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()
