"""Ollama's API that changes which models there are: pull, copy, delete."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.api_errors import json_response
from slmdesk.serving.dialects.bodies import read_body, required, unsupported
from slmdesk.serving.dialects.ollama_management import CopyBody, NamedBody, write_error, write_step
from slmdesk.serving.dialects.openai_requests import read_model
from slmdesk.serving.gate import CORS

if TYPE_CHECKING:
    from slmdesk.library.created import CreatedModels
    from slmdesk.library.library import LibraryFile
    from slmdesk.library.trash import Trash
    from slmdesk.serving.models import Models
    from slmdesk.serving.pulls import Pulls


class OllamaModels:
    """Handlers. What is removed can be brought back in the window and with `slmdesk rm --undo`."""

    def __init__(self, models: Models, created: CreatedModels, pulls: Pulls, trash: Trash) -> None:
        self._models = models
        self._created = created
        self._pulls = pulls
        self._trash = trash

    async def pull(self, request: web.Request) -> web.StreamResponse:
        """`POST /api/pull`: lines of JSON, or without `stream` one answer at the end. The job outlives its client."""
        body = read_body(await request.read(), NamedBody)
        name = read_model(body.model or body.name)
        steps = self._pulls.pull(name)
        if body.stream is False:
            async for _ in steps:
                pass
            return json_response({"status": "success"})
        cors = request[CORS]
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **cors})
        await response.prepare(request)
        with suppress(ConnectionError):
            try:
                async for step in steps:
                    await response.write(write_step(step))
            except SlmDeskError as error:
                await response.write(write_error(error))
            await response.write_eof()
        return response

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
        await self._created.copy(source, name)
        return web.Response()

    async def delete(self, request: web.Request) -> web.Response:
        """`DELETE /api/delete`: what is removed can be brought back; a download that is under way ends."""
        body = read_body(await request.read(), NamedBody)
        name = read_model(body.model or body.name)
        if await self._models.names.created(name) is not None:
            await self._unload(name)
            await self._created.remove(name)
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
