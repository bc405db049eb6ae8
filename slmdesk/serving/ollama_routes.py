"""Ollama's API beside asking: which models are there, what they are, what runs."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from slmdesk import __version__
from slmdesk.core import amounts
from slmdesk.serving.api_errors import json_response
from slmdesk.serving.dialects import ollama
from slmdesk.serving.dialects.bodies import Body, read_body
from slmdesk.serving.dialects.ollama_requests import is_empty
from slmdesk.serving.dialects.openai_requests import read_model
from slmdesk.serving.entries import public_name
from slmdesk.serving.gate import CALLER
from slmdesk.serving.listing import listed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from slmdesk.library.library import LibraryFile
    from slmdesk.serving.answers import Answers
    from slmdesk.serving.dialects.dialect import Asked
    from slmdesk.serving.dialects.ollama import OllamaDialect
    from slmdesk.serving.entries import LoadedModel
    from slmdesk.serving.models import Models

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SPOKEN = "0.12.0"
"""The release of Ollama whose API this is: clients look at it for what they may ask."""
_FOR_EVER = dt.datetime(2300, 1, 1, tzinfo=dt.UTC)


class NamedBody(Body):
    """A request that names a model; older clients call it `name`."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None


class OllamaRoutes:
    """Handlers of `/api`. Errors have that API's form."""

    def __init__(self, models: Models, answers: Answers) -> None:
        self._models = models
        self._chat = self._asking(ollama.CHAT, answers)
        self._generate = self._asking(ollama.GENERATE, answers)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`POST /api/chat`."""
        return await self._chat(request)

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """`POST /api/generate`."""
        return await self._generate(request)

    async def version(self, _request: web.Request) -> web.Response:
        """`GET /api/version`."""
        return json_response({"version": SPOKEN, "slmdesk": __version__})

    async def tags(self, _request: web.Request) -> web.Response:
        """`GET /api/tags`."""
        found = [
            _model(name, file)
            for name, file, model in await listed(self._models)
            if model is None or file.runs
        ]
        return json_response({"models": found})

    async def ps(self, _request: web.Request) -> web.Response:
        """`GET /api/ps`."""
        loaded = {slot.id: slot.file for slot in self._models.slots}
        running = [_running(one, loaded[one.id]) for one in self._models.describe() if one.state == "ready"]
        return json_response({"models": running})

    async def show(self, request: web.Request) -> web.Response:
        """`POST /api/show`."""
        body = read_body(await request.read(), NamedBody)
        file = await self._models.find(read_model(body.model or body.name), trusted=request[CALLER].trusted)
        return json_response(_shown(file))

    def _asking(self, dialect: OllamaDialect, answers: Answers) -> Handler:
        """Asking, and the empty request that only loads or unloads."""
        ask = answers.in_dialect(dialect)

        async def handle(request: web.Request) -> web.StreamResponse:
            asked = dialect.read(await request.read())
            if is_empty(asked):
                return await self._loaded(request, asked, chat=dialect is ollama.CHAT)
            return await ask(request)

        return handle

    async def _loaded(self, request: web.Request, asked: Asked, *, chat: bool) -> web.Response:
        """Load the model, or with `keep_alive` 0 unload it."""
        name, trusted = asked.ask.model, request[CALLER].trusted
        if asked.extra in (0, "0"):
            await self._models.unload(name, trusted=trusted)
            reason = "unload"
        else:
            context = asked.ask.context_length
            async with self._models.use(name, trusted=trusted, context_length=context, serves=None):
                reason = "load"
        said: dict[str, Any] = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
        return json_response(
            {"model": name, "created_at": ollama.now(), **said, "done": True, "done_reason": reason}
        )


def _model(name: str, file: LibraryFile) -> dict[str, Any]:
    try:
        changed = dt.datetime.fromtimestamp(file.path.stat().st_mtime, dt.UTC)
    except OSError:
        changed = dt.datetime.fromtimestamp(0, dt.UTC)
    return {
        "name": name,
        "model": name,
        "modified_at": changed.isoformat().replace("+00:00", "Z"),
        "size": file.size_bytes,
        "digest": _digest(file),
        "details": _details(file),
    }


def _running(one: LoadedModel, file: LibraryFile) -> dict[str, Any]:
    return {
        "name": public_name(one.id),
        "model": public_name(one.id),
        "size": one.memory_bytes,
        "digest": _digest(file),
        "details": _details(file),
        "expires_at": _FOR_EVER.isoformat().replace("+00:00", "Z"),
        "size_vram": 0,
        "context_length": one.context_length,
    }


def _shown(file: LibraryFile) -> dict[str, Any]:
    abilities = {"chat": ["completion", "tools"], "embed": ["embedding"]}.get(file.purpose, [])
    return {
        "modelfile": f"# made from what SLM Desk knows of this file\nFROM {public_name(file.id)}\n",
        "parameters": "",
        "template": "",
        "details": _details(file),
        "model_info": {
            "general.architecture": file.architecture,
            "general.parameter_count": file.parameters,
            f"{file.architecture or 'general'}.context_length": file.context_length,
        },
        "capabilities": abilities,
    }


def _details(file: LibraryFile) -> dict[str, Any]:
    family = file.architecture
    return {
        "parent_model": "",
        "format": file.format,
        "family": family,
        "families": [family] if family else [],
        "parameter_size": amounts.parameters(file.parameters).replace(" ", ""),
        "quantization_level": file.quant,
    }


def _digest(file: LibraryFile) -> str:
    return next((origin.sha256 for origin in file.origins if origin.sha256), "")
