"""Ollama's API that changes which models there are: pull, create, copy, delete."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.api_errors import json_response
from slmdesk.serving.dialects.bodies import read_body, required, unsupported
from slmdesk.serving.dialects.ollama_management import (
    CopyBody,
    NamedBody,
    read_create,
    write_error,
    write_line,
    write_step,
)
from slmdesk.serving.dialects.openai_requests import read_model
from slmdesk.serving.gate import CORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slmdesk.library.blobs import Blobs
    from slmdesk.library.created import CreatedModels
    from slmdesk.library.library import LibraryFile
    from slmdesk.library.trash import Trash
    from slmdesk.serving.bodies import Bodies
    from slmdesk.serving.creating import Creating
    from slmdesk.serving.models import Models
    from slmdesk.serving.pulls import Pulls


class OllamaModels:
    """Handlers. What is removed can be brought back in the window and with `slmdesk rm --undo`."""

    def __init__(
        self,
        models: Models,
        created: CreatedModels,
        *,
        pulls: Pulls,
        creating: Creating,
        blobs: Blobs,
        trash: Trash,
        bodies: Bodies,
    ) -> None:
        self._models = models
        self._creating = creating
        self._blobs = blobs
        self._bodies = bodies
        self._created = created
        self._pulls = pulls
        self._trash = trash

    async def pull(self, request: web.Request) -> web.StreamResponse:
        """`POST /api/pull`: lines of JSON, or without `stream` one answer at the end. The job outlives its client."""
        body = read_body(await request.read(), NamedBody)
        name = read_model(body.model or body.name)
        lines = (write_step(step) async for step in self._pulls.pull(name))
        return await _told(request, lines, stream=body.stream is not False)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """`POST /api/create`: a model of another one, and how it is run."""
        wanted, stream = read_create(await request.read())
        lines = (write_line({"status": status}) async for status in self._creating.create(wanted))
        return await _told(request, lines, stream=stream)

    async def blob(self, request: web.Request) -> web.Response:
        """`HEAD /api/blobs/sha256:…`: whether the file is here."""
        await self._blobs.find_adapter(request.match_info["digest"])
        return web.Response()

    async def take_blob(self, request: web.Request) -> web.Response:
        """`POST /api/blobs/sha256:…`: a file that a model is to be made of."""
        pieces = self._bodies.pieces(request)
        await self._blobs.take(request.match_info["digest"], pieces, request.content_length or 0)
        return web.Response(status=201)

    async def push(self, request: web.Request) -> web.Response:
        """`POST /api/push`: there is nowhere to push to."""
        read_body(await request.read(), NamedBody)
        unsupported("model", "Models are not pushed to a registry from here.", "Publish the file on a hub.")

    async def copy(self, request: web.Request) -> web.Response:
        """`POST /api/copy`: another name for a model; no weights are copied."""
        body = read_body(await request.read(), CopyBody)
        source = required("source", body.source)
        name = required("destination", body.destination)
        if await self._models.names.created(source) is None:
            source = (await self._models.names.exactly(source)).id
        await self._created.copy(source, name, given=True)
        return web.Response()

    async def delete(self, request: web.Request) -> web.Response:
        """`DELETE /api/delete`: what is removed can be brought back; a download that is under way ends."""
        body = read_body(await request.read(), NamedBody)
        name = read_model(body.model or body.name)
        if await self._models.names.created(name) is not None:
            await self._unload(name)
            await self._trash.remove_created(name)
            return web.Response()
        try:
            file = await self._models.names.exactly(name)
        except SlmDeskError as error:
            if error.code != "model_not_found" or not await self._pulls.cancel(name):
                raise
            return web.Response()
        await self._refuse_several(name, file)
        for slot in self._models.slots:
            if slot.file.path == file.path:
                await self._unload(slot.id)
        await self._trash.remove([file], file.id)
        return web.Response()

    async def _unload(self, name: str) -> None:
        try:
            await self._models.unload(name, trusted=False)
        except SlmDeskError as error:
            if error.code != "model_not_found":  # the base of a created one may be gone
                raise

    async def _refuse_several(self, name: str, file: LibraryFile) -> None:
        """A model of several files goes file by file. Raises `model_ambiguous`."""
        for model in await self._models.library_models():
            several = len(model.files) > 1 and any(one.path == file.path for one in model.files)
            if several and ":" not in name.removesuffix(":latest"):
                raise SlmDeskError(
                    "model_ambiguous",
                    f"{model.id} has several files.",
                    f"Say which: {', '.join(one.id for one in model.files[:8])}.",
                )


async def _told(request: web.Request, lines: AsyncIterator[bytes], *, stream: bool) -> web.StreamResponse:
    """The lines as they come, the last one an error where there is one; not streamed, only that it went well."""
    if not stream:
        async for _ in lines:
            pass
        return json_response({"status": "success"})
    cors = request[CORS]
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **cors})
    await response.prepare(request)
    with suppress(ConnectionError):
        try:
            async for line in lines:
                await response.write(line)
        except SlmDeskError as error:
            await response.write(write_error(error))
        await response.write_eof()
    return response
