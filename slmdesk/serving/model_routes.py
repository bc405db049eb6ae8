"""Routes about models and about the service itself."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Ask
from slmdesk.inference.wire import decoded
from slmdesk.serving.api_errors import error_object, json_response
from slmdesk.serving.dialects.bodies import Body, Number, read_body, whole, within
from slmdesk.serving.dialects.openai_bodies import TokenizeBody
from slmdesk.serving.dialects.openai_requests import MOST_CONTEXT, read_model, read_tokenize
from slmdesk.serving.entries import ModelEntry, ServiceStatus, public_name
from slmdesk.serving.gate import CALLER, port_of
from slmdesk.serving.listing import listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.library.library import LibraryFile
    from slmdesk.serving.app import Activity
    from slmdesk.serving.metrics import Metrics
    from slmdesk.serving.models import Models


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this service is."""

    pid: int
    version: str
    started_by: str
    started: float  # time.monotonic()
    ollama_port: int = 0  # 0: there is none


class LoadBody(Body):
    """What is to be loaded or unloaded."""

    model: str | None = None
    context_length: Number | None = None
    keep_s: Number | None = None
    pin: bool | None = None


class ShutdownBody(Body):
    """Whether the service ends only when nothing else is asked of it."""

    if_idle: bool | None = None


class ModelRoutes:
    """Handlers of everything but the completions."""

    def __init__(
        self,
        models: Models,
        activity: Activity,
        identity: Identity,
        metrics: Metrics,
        stop: Callable[[], None],
    ) -> None:
        """`stop` is called when a front end asks for the service's end."""
        self._models = models
        self._metrics = metrics
        self._activity = activity
        self._identity = identity
        self._stop = stop

    async def health(self, request: web.Request) -> web.Response:
        who = self._identity
        if request.path == "/" and who.ollama_port and port_of(request) == who.ollama_port:
            return web.Response(text="Ollama is running")  # by these words programs know its API
        state = "stopping" if self._models.stopping else "ok"
        return json_response({"status": state, "name": "slmdesk", "version": who.version, "pid": who.pid})

    async def metrics(self, request: web.Request) -> web.Response:
        """For Prometheus, in the text format that it asks for."""
        body, content_type = self._metrics.written(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def slots(self, _request: web.Request) -> web.Response:
        """What each slot of each loaded model does, much as llama-server tells it."""
        slots: list[dict[str, Any]] = []
        for model in self._models.describe():
            if model.state != "ready":
                continue
            slots += [
                {
                    "id": number,
                    "model": public_name(model.id),
                    "n_ctx": model.context_length,
                    "is_processing": number < model.active,
                    "waiting": model.queued,
                }
                for number in range(model.parallel)
            ]
        return json_response(slots)

    async def models(self, _request: web.Request) -> web.Response:
        entries = [_api_model(entry, created) for entry, created in await self._entries()]
        return json_response({"object": "list", "data": entries})

    async def model(self, request: web.Request) -> web.Response:
        name = request.match_info["id"].rstrip("/")
        for entry, created in await self._entries():
            if entry.id == name:
                return json_response(_api_model(entry, created))
        file = await self._models.find(name, trusted=request[CALLER].trusted)
        loaded = {slot.file.path for slot in self._models.slots if slot.engine is not None}
        return json_response(_api_model(*_entry(public_name(name), file, loaded)))

    async def status(self, request: web.Request) -> web.Response:
        who = self._identity
        loaded = self._models.describe()
        if not request[CALLER].trusted:
            loaded = [one.without_paths() for one in loaded]
        status = ServiceStatus(
            loaded=tuple(loaded),
            uptime_s=time.monotonic() - who.started,
            version=who.version,
            pid=who.pid,
            started_by=who.started_by,
        )
        return json_response(status.to_json())

    async def load(self, request: web.Request) -> web.StreamResponse:
        """One JSON line a step: `{"progress": 0.4}` …, then `{"ready": …}` or `{"error": …}`.

        `keep_s`: seconds the model stays without use, -1 for ever; `pin`: it makes no room for others either.
        """
        body = read_body(await request.read(), LoadBody)
        name = read_model(body.model)
        context = whole("context_length", body.context_length, 1, MOST_CONTEXT) or 0
        keep_s = None if body.keep_s is None else within("keep_s", body.keep_s, -1, math.inf)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        steps: asyncio.Queue[float | None] = asyncio.Queue()

        async def work() -> dict[str, Any]:
            trusted = request[CALLER].trusted
            try:
                async with self._models.use(
                    name,
                    trusted=trusted,
                    on_progress=steps.put_nowait,
                    context_length=context,
                    serves=None,
                ) as held:
                    if keep_s is not None:
                        held.keep_for(keep_s if keep_s >= 0 else math.inf)
                    if body.pin is not None:
                        held.pin(body.pin)
                    return {"ready": {"context_length": held.engine.facts.context_length}}
            except SlmDeskError as error:
                return error_object(error)
            finally:
                steps.put_nowait(None)

        task = asyncio.create_task(work())
        try:
            # What fails at once is answered with its status.
            step = await steps.get()
            if step is None and "error" in (failed := await task):
                raise SlmDeskError.from_json(failed["error"]["slmdesk"])
            await response.prepare(request)
            while step is not None:
                await response.write(_line({"progress": step}))
                step = await steps.get()
            await response.write(_line(await task))
            await response.write_eof()
        finally:
            task.cancel()
        return response

    async def unload(self, request: web.Request) -> web.Response:
        name = read_model(read_body(await request.read(), LoadBody).model)
        unloaded = await self._models.unload(name, trusted=request[CALLER].trusted)
        return json_response({"unloaded": unloaded})

    async def tokenize(self, request: web.Request) -> web.Response:
        return await self._count(request, read_tokenize(read_body(await request.read(), TokenizeBody)))

    async def count(self, request: web.Request) -> web.Response:
        """The same for an `Ask`."""
        ask = decoded(await request.read(), Ask)
        ask.check()
        return await self._count(request, ask)

    async def _count(self, request: web.Request, ask: Ask) -> web.Response:
        trusted = request[CALLER].trusted
        async with self._models.use(ask.model, trusted=trusted, context_length=ask.context_length) as held:
            count = await held.engine.count(held.defaults.fill(ask))
            return json_response({"tokens": count, "context_length": held.engine.facts.context_length})

    async def shutdown(self, request: web.Request) -> web.Response:
        """End the service; with `{"if_idle": true}` only when no other request is running."""
        if not request[CALLER].trusted:
            raise SlmDeskError(
                "unauthorized", "Only who knows the key may end the service.", "End it where it was started."
            )
        data = await request.read()
        asked = read_body(data, ShutdownBody) if data else ShutdownBody()
        if asked.if_idle and self._activity.running > 1:
            raise SlmDeskError(
                "service_busy",
                "The service is answering right now.",
                "Try again when the answer is complete.",
            )
        self._stop()
        return json_response({"stopping": True})

    async def _entries(self) -> list[tuple[ModelEntry, int]]:
        loaded = {slot.file.path for slot in self._models.slots if slot.engine is not None}
        return [
            _entry(
                entry.name,
                entry.file,
                loaded,
                built_in=entry.model is not None and entry.model.built_in,
                shown=entry.model.name if entry.model is not None else "",
            )
            for entry in await listed(self._models)
        ]


def _entry(
    name: str, file: LibraryFile, loaded: set[Any], *, built_in: bool = False, shown: str = ""
) -> tuple[ModelEntry, int]:
    try:
        created = int(file.path.stat().st_mtime)
    except OSError:
        created = 0
    entry = ModelEntry(
        id=name,
        name=shown or name,
        quant=file.quant,
        size_bytes=file.size_bytes,
        parameters=file.parameters,
        context_length=file.context_length,
        state=file.state,
        loaded=file.path in loaded,
        built_in=built_in,
        problem=file.problem.to_json() if file.problem and file.serves is None else None,
        purpose=file.purpose,
    )
    return entry, created


def _api_model(entry: ModelEntry, created: int) -> dict[str, Any]:
    publisher = entry.id.partition("/")[0] if "/" in entry.id else "local"
    return {**entry.to_json(), "object": "model", "created": created, "owned_by": publisher or "local"}


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
