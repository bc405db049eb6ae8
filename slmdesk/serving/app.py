"""The HTTP face of the service: routes, the checks before them, and errors in the API's form."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.answers import Answers
from slmdesk.serving.api_errors import error_response, from_http
from slmdesk.serving.dialects import openai
from slmdesk.serving.dialects.own import OwnDialect
from slmdesk.serving.fields import MAX_BODY
from slmdesk.serving.gate import CALLER, CORS
from slmdesk.serving.model_routes import ModelRoutes

if TYPE_CHECKING:
    from slmdesk.serving.gate import Gate
    from slmdesk.serving.model_routes import Identity
    from slmdesk.serving.models import Models

log = logging.getLogger(__name__)

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
    """Wraps every handler: the gate, the count of running requests, and what errors become."""

    def __init__(self, gate: Gate, activity: Activity) -> None:
        self._gate = gate
        self._activity = activity

    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._activity.begin()
        request[CORS] = {}
        try:
            try:
                request[CALLER] = self._gate.check(request)
                request[CORS] = _cors(request)
                if request.method == "OPTIONS":
                    return _preflight(request)
                response = await handler(request)
            except SlmDeskError as error:
                response = error_response(error)
            except web.HTTPException as error:
                response = error_response(from_http(error, request.method, request.path))
            except ConnectionError:
                return web.Response(status=400)  # to nobody: the client went away
            except Exception:
                log.exception("%s %s failed", request.method, request.path)
                response = error_response(
                    SlmDeskError(
                        "unexpected", "The service failed in a way it should not.", "Its log has the reason."
                    )
                )
            if not response.prepared:
                response.headers.update(request[CORS])
            return response
        finally:
            self._activity.end()


def build_app(
    models: Models, gate: Gate, activity: Activity, identity: Identity, stop: Callable[[], None]
) -> web.Application:
    """The application, ready for a runner. `stop` is called when a front end asks for the service's end."""
    front = Front(gate, activity)

    @web.middleware
    async def wrap(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await front.middleware(request, handler)

    app = web.Application(middlewares=[wrap], client_max_size=MAX_BODY)
    answers = Answers(models)
    routes = ModelRoutes(models, activity, identity, stop)
    app.router.add_get("/", routes.health)
    app.router.add_get("/health", routes.health)
    app.router.add_get("/v1/models", routes.models)
    app.router.add_get("/v1/models/{id:.+}", routes.model)
    app.router.add_post("/v1/chat/completions", answers.in_dialect(openai.CHAT))
    app.router.add_post("/v1/completions", answers.in_dialect(openai.TEXT))
    app.router.add_get("/slmdesk/v1/status", routes.status)
    app.router.add_post("/slmdesk/v1/ask", answers.in_dialect(OwnDialect()))
    app.router.add_post("/slmdesk/v1/count", routes.count)
    app.router.add_post("/slmdesk/v1/load", routes.load)
    app.router.add_post("/slmdesk/v1/unload", routes.unload)
    app.router.add_post("/slmdesk/v1/tokenize", routes.tokenize)
    app.router.add_post("/slmdesk/v1/shutdown", routes.shutdown)
    return app


def _cors(request: web.Request) -> dict[str, str]:
    """Lets a page that the gate let in read the answer."""
    origin = request.headers.get("Origin")
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin else {}


def _preflight(request: web.Request) -> web.Response:
    asked = request.headers.get("Access-Control-Request-Headers", "authorization, content-type")
    cors = request[CORS]
    return web.Response(
        status=204,
        headers={
            **cors,
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": asked,
            "Access-Control-Max-Age": "600",
        },
    )
