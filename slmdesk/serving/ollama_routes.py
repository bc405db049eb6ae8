"""Ollama's API beside asking: which models are there, what they are, what runs."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk import __version__
from slmdesk.core import amounts
from slmdesk.library.created import CreatedModel
from slmdesk.library.modelfile import write_modelfile
from slmdesk.library.ollama_words import parameters_of
from slmdesk.serving.api_errors import json_response
from slmdesk.serving.dialects import ollama
from slmdesk.serving.dialects.bodies import read_body
from slmdesk.serving.dialects.ollama_management import NamedBody
from slmdesk.serving.dialects.ollama_requests import is_empty
from slmdesk.serving.dialects.openai_requests import read_model
from slmdesk.serving.entries import public_name
from slmdesk.serving.gate import CALLER
from slmdesk.serving.listing import Listed, listed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from slmdesk.library.kept import FileSettings
    from slmdesk.library.library import LibraryFile
    from slmdesk.serving.answers import Answers
    from slmdesk.serving.dialects.dialect import Asked
    from slmdesk.serving.dialects.ollama import OllamaDialect
    from slmdesk.serving.entries import LoadedModel
    from slmdesk.serving.models import Models

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SPOKEN = "0.12.0"
"""The release of Ollama whose API this is: clients look at it for what they may ask."""
_FOR_EVER = "2300-01-01T00:00:00Z"


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
            _model(entry) for entry in await listed(self._models) if entry.model is None or entry.file.runs
        ]
        return json_response({"models": found})

    async def ps(self, _request: web.Request) -> web.Response:
        """`GET /api/ps`."""
        loaded = {slot.id: slot for slot in self._models.slots}
        running = [
            _running(one, loaded[one.id].file, public_name(loaded[one.id].shown))
            for one in self._models.describe()
            if one.state == "ready"
        ]
        return json_response({"models": running})

    async def show(self, request: web.Request) -> web.Response:
        """`POST /api/show`."""
        body = read_body(await request.read(), NamedBody)
        name = read_model(body.model or body.name)
        created = await self._models.names.created(name)
        file = await self._models.find(name, trusted=request[CALLER].trusted)
        kept = await asyncio.to_thread(self._models.kept, file)
        return json_response(_shown(file, created or CreatedModel("", file.id), kept))

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
        if asked.keep_s == 0:
            await self._models.unload(name, trusted=trusted)
            reason = "unload"
        else:
            context = asked.ask.context_length
            async with self._models.use(
                name, trusted=trusted, context_length=context, serves=None, keep_s=asked.keep_s
            ):
                reason = "load"
        said: dict[str, Any] = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
        return json_response(
            {"model": name, "created_at": ollama.now(), **said, "done": True, "done_reason": reason}
        )


def _model(entry: Listed) -> dict[str, Any]:
    file, created = entry.file, entry.created
    return {
        "name": entry.name,
        "model": entry.name,
        "modified_at": _time(created.created_at if created is not None else _modified(file)),
        "size": file.size_bytes,
        "digest": _digest(file),
        "details": _details(file, created.base if created is not None else ""),
    }


def _running(one: LoadedModel, file: LibraryFile, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "size": one.memory_bytes + one.device_bytes,
        "digest": _digest(file),
        "details": _details(file),
        "expires_at": _time(one.expires_at) if one.expires_at else _FOR_EVER,
        "size_vram": one.device_bytes,
        "context_length": one.context_length,
    }


def _modified(file: LibraryFile) -> float:
    try:
        return file.path.stat().st_mtime
    except OSError:
        return 0.0


def _time(seconds: float) -> str:
    """Seconds since 1970 as this API writes times."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


def _shown(file: LibraryFile, created: CreatedModel, kept: FileSettings) -> dict[str, Any]:
    settings = created.settings.over(kept.effective)
    template = created.template or kept.template
    parameters = parameters_of(settings)
    abilities = {"chat": ["completion", "tools"], "embed": ["embedding"]}.get(file.purpose, [])
    return {
        "modelfile": "# made from what SLM Desk knows of this model\n"
        + write_modelfile(
            public_name(file.id),
            parameters,
            system=settings.system_prompt or "",
            template=template,
            messages=created.messages,
            adapters=[Path(adapter.path).name for adapter in created.adapters],
            licence=created.licence,
        ),
        "parameters": "\n".join(
            f"{key:<30} {value}" for key, values in parameters.items() for value in values
        ),
        "template": template,
        "system": settings.system_prompt or "",
        "license": created.licence or file.licence,
        "messages": [{"role": role, "content": text} for role, text in created.messages],
        "modified_at": _time(created.created_at or _modified(file)),
        "details": _details(file, created.base if created.name else ""),
        "model_info": {
            "general.architecture": file.architecture,
            "general.parameter_count": file.parameters,
            f"{file.architecture or 'general'}.context_length": file.context_length,
        },
        "capabilities": abilities,
    }


def _details(file: LibraryFile, parent: str = "") -> dict[str, Any]:
    family = file.architecture
    return {
        "parent_model": parent,
        "format": file.format,
        "family": family,
        "families": [family] if family else [],
        "parameter_size": amounts.parameters(file.parameters).replace(" ", ""),
        "quantization_level": file.quant,
    }


def _digest(file: LibraryFile) -> str:
    return next((origin.sha256 for origin in file.origins if origin.sha256), "")
