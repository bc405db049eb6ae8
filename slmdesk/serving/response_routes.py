"""What the APIs have beside asking: counting tokens, and responses kept to go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.api_errors import json_response
from slmdesk.serving.dialects import anthropic
from slmdesk.serving.gate import CALLER

if TYPE_CHECKING:
    from aiohttp import web

    from slmdesk.serving.dialects.responses_store import ResponseStore
    from slmdesk.serving.models import Models


class ResponseRoutes:
    """Handlers over the responses that are kept, and over nothing but a prompt."""

    def __init__(self, models: Models, store: ResponseStore) -> None:
        self._models = models
        self._store = store

    async def get(self, request: web.Request) -> web.Response:
        """`GET /v1/responses/{id}`."""
        kept = self._store.find(request.match_info["id"])
        if kept is None:
            raise _missing(request.match_info["id"])
        return json_response(kept.response)

    async def delete(self, request: web.Request) -> web.Response:
        """`DELETE /v1/responses/{id}`."""
        name = request.match_info["id"]
        if not self._store.remove(name):
            raise _missing(name)
        return json_response({"id": name, "object": "response", "deleted": True})

    async def count(self, request: web.Request) -> web.Response:
        """`POST /v1/messages/count_tokens`."""
        ask = anthropic.MESSAGES.read(await request.read()).ask
        async with self._models.use(ask.model, trusted=request[CALLER].trusted) as held:
            return json_response({"input_tokens": await held.engine.count(held.defaults.fill(ask))})


def _missing(name: str) -> SlmDeskError:
    return SlmDeskError("response_not_found", f"There is no response {name} here.", "")
