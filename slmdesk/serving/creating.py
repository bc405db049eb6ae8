"""Models made of others by a program: from the fields of a request, or from a Modelfile's text."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.adapter_file import check_adapter
from slmdesk.formats.gguf import check_weights, read_header
from slmdesk.inference.loading import ScaledAdapter
from slmdesk.library.candidates import Candidate, SourceFile
from slmdesk.library.created import LATEST, CreatedModel, checked_name
from slmdesk.library.importing import Importer
from slmdesk.library.modelfile import read_modelfile
from slmdesk.library.names import LOCAL, safe_name
from slmdesk.library.ollama_words import parameters_asked
from slmdesk.quantize.request import Request
from slmdesk.quantize.targets import find_targets
from slmdesk.serving.pulls import raise_how_it_ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.inference.asks import Role
    from slmdesk.inference.model_settings import ModelSettings
    from slmdesk.library.blobs import Blobs
    from slmdesk.library.created import CreatedModels
    from slmdesk.library.library import Library, LibraryFile
    from slmdesk.serving.models import Models
    from slmdesk.serving.pulls import Pulls

_HUB = re.compile(r"(?i)(https?://)?(www\.)?(hf\.co|huggingface\.co)/")


@dataclass(frozen=True, slots=True)
class Creation:
    """What is to be made. None: as the base has it.

    Attributes:
        base: the model that it is made of, "" where `files` bring one.
        files: names of files and the digests they were sent under.
        adapters: the same of adapters.
        quantize: the quant that is made of the base, "" for none.
        parameters: name, value, and the number of its line in a Modelfile, or 0.
    """

    name: str
    base: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    adapters: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[tuple[str, object, int], ...] = ()
    system: str | None = None
    template: str | None = None
    messages: tuple[tuple[Role, str], ...] | None = None
    licence: str | None = None
    quantize: str = ""

    def with_modelfile(self, text: str) -> Creation:
        """What the fields leave open as a Modelfile says it. Raises `modelfile_invalid`."""
        said = read_modelfile(text)
        if said.adapters and not self.adapters:
            raise SlmDeskError(
                "modelfile_invalid",
                f"ADAPTER names the file {said.adapters[0][:100]}, which is not opened for a program.",
                "Send it to /api/blobs, and its digest in “adapters”.",
            )
        return replace(
            self,
            base=self.base or ("" if self.files else said.base),
            parameters=(*said.parameters, *self.parameters),
            system=said.system or None if self.system is None else self.system,
            template=said.template or None if self.template is None else self.template,
            messages=tuple(said.messages) or None if self.messages is None else self.messages,
            licence=said.licence or None if self.licence is None else self.licence,
        )


class Quantizer(Protocol):
    """What queues the making of a quant."""

    async def start(self, request: Request) -> Job: ...


class Creating:
    """Of one service."""

    def __init__(
        self,
        library: Library,
        models: Models,
        created: CreatedModels,
        *,
        blobs: Blobs,
        pulls: Pulls,
        quantizing: Quantizer,
        jobs: Jobs,
    ) -> None:
        self._quantizing = quantizing
        self._jobs = jobs
        self._library = library
        self._models = models
        self._created = created
        self._blobs = blobs
        self._pulls = pulls

    async def create(self, wanted: Creation) -> AsyncIterator[str]:
        """Make it, and tell each step. A base that is not here is pulled first, where it names one of the hub.

        Raises `name_invalid`, `duplicate`, `modelfile_invalid`, `model_not_found`, `not_gguf` and what else is wrong
        with a file, `adapter_unsuitable`, `adapter_mismatch`, `blob_missing`, and what a pull or quantizing raises.
        """
        checked_name(wanted.name)
        settings, unused = parameters_asked(wanted.parameters)
        below: CreatedModel | None = None
        if wanted.files:
            yield "parsing GGUF"
            file = await self._taken(wanted)
        else:
            below = await self._models.names.created(wanted.base)
            if below is None and await self._missing(wanted.base):
                async for step in self._pulls.pull(wanted.base):
                    yield step.status
            file = await self._models.names.exactly(below.base if below is not None else wanted.base)
        if wanted.quantize:
            async for told in self._quantized(file, wanted.quantize):
                yield told
            file = await self._quant_of(file, wanted.quantize)
        yield f"using existing layer {file.id}"
        adapters = await self._adapters(wanted, file)
        model = _made(wanted, below or CreatedModel("", file.id), settings, adapters)
        for note in _notes(model, unused):
            yield note
        yield "writing manifest"
        await self._created.create(replace(model, base=file.id, unused=unused), given=True)
        yield "success"

    async def _quantized(self, file: LibraryFile, quant: str) -> AsyncIterator[str]:
        """Make the quant as a job, which outlives who asked; one that is there is taken."""
        request = Request(file.id, (quant,), imatrix="none", measure=False)
        try:
            job = await self._quantizing.start(request)
        except SlmDeskError as error:
            if error.code != "output_exists":
                raise
            return
        told = ""
        async for seen in self._jobs.watch(job.id):
            if seen.ended or (seen.state == "paused" and not seen.wish):
                raise_how_it_ended(seen)
                break
            share = f" {seen.done / seen.total:.0%}" if seen.total else ""
            line = f"quantizing {quant}: {seen.detail or seen.title}{share}"
            if line != told:
                told = line
                yield line
        self._library.forget_listing()

    async def _quant_of(self, file: LibraryFile, quant: str) -> LibraryFile:
        (wanted,) = find_targets((quant,))
        return await self._library.resolve(f"{file.id.partition(':')[0]}:{wanted.name}")

    async def _missing(self, name: str) -> bool:
        """Whether a model of a hub is named that is not here. Raises what `exactly` does for any other."""
        try:
            await self._models.names.exactly(name)
        except SlmDeskError as error:
            if error.code != "model_not_found" or not _HUB.match(name):
                raise
            return True
        return False

    async def _taken(self, wanted: Creation) -> LibraryFile:
        """The file that was sent, as a model of the library."""
        if len(wanted.files) != 1:
            raise SlmDeskError(
                "format_unknown",
                f"{len(wanted.files)} files were sent; a model is made of one GGUF.",
                "Convert a folder of safetensors first, with “slmdesk convert”.",
            )
        ((name, digest),) = wanted.files.items()
        path = await self._blobs.find(digest)
        header = await asyncio.to_thread(read_header, path)
        await asyncio.to_thread(check_weights, header)
        if header.kind == "adapter":
            raise SlmDeskError(
                "adapter_alone",
                f"{name[:100]} is an adapter, no model.",
                "Name its model as “from”, and the file in “adapters”.",
            )
        called = safe_name(checked_name(wanted.name).removesuffix(LATEST).replace("/", "-").replace(":", "-"))
        stem = safe_name(PurePosixPath(name.replace("\\", "/")).stem) if name.endswith(".gguf") else called
        size = await asyncio.to_thread(lambda: path.stat().st_size)
        sent = SourceFile(path, f"{stem}.gguf", size, digest.partition(":")[2].lower())
        candidate = Candidate(LOCAL, f"{called}-weights", (sent,), source="file", title=wanted.name)
        (imported,) = await Importer(self._library).take([candidate], "move")
        if imported.problem is not None:
            raise imported.problem
        self._library.forget_listing()
        return await self._library.resolve(candidate.id)

    async def _adapters(self, wanted: Creation, file: LibraryFile) -> tuple[ScaledAdapter, ...] | None:
        if not wanted.adapters:
            return None
        found = []
        for digest in wanted.adapters.values():
            await asyncio.to_thread(check_adapter, await self._blobs.find_adapter(digest), file.path)
            found.append(ScaledAdapter(str(await self._blobs.keep_adapter(digest)), needed=True))
        return tuple(found)


def _made(
    wanted: Creation,
    below: CreatedModel,
    settings: ModelSettings,
    adapters: tuple[ScaledAdapter, ...] | None,
) -> CreatedModel:
    changes: dict[str, Any] = {
        "template": wanted.template,
        "messages": wanted.messages,
        "licence": wanted.licence,
        "adapters": adapters,
    }
    if wanted.system is not None:
        settings = replace(settings, system_prompt=wanted.system)
    known = {name: value for name, value in changes.items() if value is not None}
    return replace(below, name=wanted.name, settings=settings.over(below.settings), **known)


def _notes(model: CreatedModel, unused: tuple[str, ...]) -> list[str]:
    """What a person should know of it."""
    notes = []
    if model.template:
        notes.append(
            "the template is rendered as Ollama does, and used where it says something else than the model's own; one "
            "that cannot be read is not used, which an answer's note says"
        )
    if unused:
        notes.append(f"kept, with no counterpart here: {', '.join(unused)}")
    return notes
