"""The HTTP face of the service: routes, the checks before them, and errors in the API's form."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.api_errors import error_response, form_of, from_http, json_response
from slmdesk.serving.connections import Connection
from slmdesk.serving.description import PATH, described
from slmdesk.serving.dialects import anthropic, openai
from slmdesk.serving.dialects.own import OwnDialect
from slmdesk.serving.dialects.responses import ResponsesDialect
from slmdesk.serving.dialects.responses_store import ResponseStore
from slmdesk.serving.gate import CALLER, CORS
from slmdesk.serving.ollama_routes import OllamaRoutes
from slmdesk.serving.records import CURRENT, RequestRecord
from slmdesk.serving.response_routes import ResponseRoutes
from slmdesk.serving.text_routes import TextRoutes
from slmdesk.serving.texts import Texts
from slmdesk.serving.token_routes import TokenRoutes

if TYPE_CHECKING:
    from slmdesk.serving.answers import Answers
    from slmdesk.serving.bodies import Bodies
    from slmdesk.serving.gate import Gate
    from slmdesk.serving.metrics import Metrics
    from slmdesk.serving.model_routes import ModelRoutes
    from slmdesk.serving.models import Models
    from slmdesk.serving.ollama_models import OllamaModels
    from slmdesk.serving.rates import Rates

log = logging.getLogger(__name__)

BLOBS = "/api/blobs/"
_CLIENT_LEFT = 499  # as nginx has it: nobody reads this status, but the log and the metrics do

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Activity:
    """When the service was last used: what decides about its end."""

    def __init__(self) -> None:
        self.running = 0
        self._last = time.monotonic()

    def begin(self) -> None:
        self.running += 1

    def end(self) -> None:
        self.running -= 1
        self._last = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since the last request ended; 0 while one runs."""
        return 0.0 if self.running else time.monotonic() - self._last


class Front:
    """Wraps every handler: the gate, limits, the count of running requests, what errors become, the line in the log."""

    def __init__(
        self, gate: Gate, activity: Activity, bodies: Bodies, rates: Rates, metrics: Metrics
    ) -> None:
        self._gate = gate
        self._activity = activity
        self._bodies = bodies
        self._rates = rates
        self._metrics = metrics

    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        record = RequestRecord(self._metrics, request.method, request.path)
        CURRENT.set(record)
        connection = request.protocol if isinstance(request.protocol, Connection) else None
        if connection is not None:
            connection.begins()
        self._activity.begin()
        self._metrics.active += 1
        request[CORS] = {}
        try:
            response = await self._answered(request, handler, record)
            record.status = response.status
            if not response.prepared:
                response.headers.update(request[CORS])
            return response
        except asyncio.CancelledError:
            record.status = _CLIENT_LEFT
            raise
        finally:
            self._metrics.active -= 1
            self._activity.end()
            if connection is not None:
                connection.ends()
            self._metrics.request_ended(record, _route_of(request))
            record.write()

    async def _answered(
        self, request: web.Request, handler: Handler, record: RequestRecord
    ) -> web.StreamResponse:
        """The answer, or the error in the form of the API."""
        try:
            self._let_in(request, record)
            if request.method == "OPTIONS":
                return _preflight(request)
            if request.path.startswith(BLOBS):
                return await handler(request)  # which reads the body as it comes
            async with self._bodies.read(request):
                return await handler(request)
        except SlmDeskError as raised:
            error = raised
        except web.HTTPException as raised:
            error = from_http(raised, request.method, request.path)
        except ConnectionError:
            return web.Response(status=_CLIENT_LEFT)  # to nobody
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            error = SlmDeskError(
                "unexpected", "The service failed in a way it should not.", "Its log has the reason."
            )
        record.error = error.code
        response = error_response(error, form_of(request.path))
        if not request.content.is_eof():
            response.force_close()
            if isinstance(request.protocol, Connection):
                request.protocol.abandon()
        return response

    def _let_in(self, request: web.Request, record: RequestRecord) -> None:
        """Nothing else looks at a request before."""
        caller = request[CALLER] = self._gate.identify(request)
        record.key = caller.key
        request[CORS] = self._gate.check_origin(request)
        self._gate.check_key(request, caller)
        if not caller.trusted:
            self._rates.check(caller.key or request.remote or "")


def build_app(
    front: Front,
    models: Models,
    answers: Answers,
    routes: ModelRoutes,
    changes: OllamaModels,
    *,
    most_body: int,
) -> web.Application:
    """The application, ready for a runner; `most_body` is in bytes, unpacked."""

    @web.middleware
    async def wrap(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await front.middleware(request, handler)

    app = web.Application(middlewares=[wrap], client_max_size=most_body)
    _get(app, "/", routes.health)
    _get(app, "/health", routes.health)
    _get(app, "/metrics", routes.metrics)
    _get(app, "/slots", routes.slots)
    _get(app, "/v1/models", routes.models)
    app.router.add_get("/v1/models/{id:.+}", routes.model, expect_handler=_later)
    _post(app, "/v1/chat/completions", answers.in_dialect(openai.CHAT))
    _post(app, "/v1/completions", answers.in_dialect(openai.TEXT))
    _add_other_apis(app, models, answers)
    _add_ollama(app, OllamaRoutes(models, answers), changes)
    _get(app, "/slmdesk/v1/status", routes.status)
    _post(app, "/slmdesk/v1/ask", answers.in_dialect(OwnDialect()))
    _post(app, "/slmdesk/v1/count", routes.count)
    _post(app, "/slmdesk/v1/load", routes.load)
    _post(app, "/slmdesk/v1/unload", routes.unload)
    _post(app, "/slmdesk/v1/tokenize", routes.tokenize)
    _post(app, "/slmdesk/v1/shutdown", routes.shutdown)
    _describe(app)
    return app


def _describe(app: web.Application) -> None:
    """Everything above is told to programs; put together when one asks."""

    @cache
    def description() -> dict[str, Any]:
        return described(app.router.routes())

    async def describe(_request: web.Request) -> web.Response:
        return json_response(description())

    _get(app, PATH, describe)


def _add_other_apis(app: web.Application, models: Models, answers: Answers) -> None:
    """Vectors, Responses, Anthropic's Messages, Ollama's API, and tokenizers as evaluation programs ask for them."""
    texts = TextRoutes(Texts(models))
    _post(app, "/v1/embeddings", texts.embeddings)
    _post(app, "/v1/rerank", texts.rerank)
    _post(app, "/rerank", texts.rerank)
    _post(app, "/api/embed", texts.ollama_embed)
    _post(app, "/api/embeddings", texts.ollama_embeddings)
    store = ResponseStore()
    kept = ResponseRoutes(models, store)
    _post(app, "/v1/responses", answers.in_dialect(ResponsesDialect(store)))
    _get(app, "/v1/responses/{id}", kept.get)
    app.router.add_delete("/v1/responses/{id}", kept.delete, expect_handler=_later)
    _post(app, "/v1/messages", answers.in_dialect(anthropic.MESSAGES))
    _post(app, "/v1/messages/count_tokens", kept.count)
    tokens = TokenRoutes(models)
    _post(app, "/tokenize", tokens.tokenize)
    _post(app, "/detokenize", tokens.detokenize)
    _get(app, "/tokenizer_info", tokens.info)


def _add_ollama(app: web.Application, theirs: OllamaRoutes, changes: OllamaModels) -> None:
    _post(app, "/api/chat", theirs.chat)
    _post(app, "/api/generate", theirs.generate)
    _post(app, "/api/show", theirs.show)
    _get(app, "/api/tags", theirs.tags)
    _get(app, "/api/ps", theirs.ps)
    _get(app, "/api/version", theirs.version)
    _post(app, "/api/pull", changes.pull)
    _post(app, "/api/push", changes.push)
    _post(app, "/api/copy", changes.copy)
    _post(app, "/api/create", changes.create)
    app.router.add_head(BLOBS + "{digest}", changes.blob, expect_handler=_later)
    app.router.add_post(BLOBS + "{digest}", changes.take_blob, expect_handler=_later)
    app.router.add_delete("/api/delete", changes.delete, expect_handler=_later)


def _get(app: web.Application, path: str, handler: Handler) -> None:
    """Some clients end an address with a slash."""
    for each in {path, f"{path.rstrip('/')}/"}:
        app.router.add_get(each, handler, expect_handler=_later)


def _post(app: web.Application, path: str, handler: Handler) -> None:
    for each in (path, f"{path}/"):
        app.router.add_post(each, handler, expect_handler=_later)


async def _later(_request: web.Request) -> None:
    """A body that the client waits with is asked for behind the gate, not before."""


def _route_of(request: web.Request) -> str:
    """The pattern of the path: there are few of those, and of paths as many as clients make up."""
    resource = request.match_info.route.resource
    return resource.canonical.rstrip("/") or "/" if resource is not None else "unknown"


def _preflight(request: web.Request) -> web.Response:
    asked = request.headers.get("Access-Control-Request-Headers", "authorization, content-type")
    cors = request[CORS]
    return web.Response(
        status=204,
        headers={
            **cors,
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": asked,
            # Browsers ask for it where a page of the internet wants something of this machine.
            "Access-Control-Allow-Private-Network": "true",
            "Access-Control-Max-Age": "600",
        },
    )
