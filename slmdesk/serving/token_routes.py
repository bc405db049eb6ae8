"""A model's tokenizer over HTTP, as vLLM and llama-server offer it: evaluation programs ask it for lengths.

`POST /tokenize` `{"prompt" or "content", "model"?}` → `{"tokens", "count", "max_model_len"}`, `POST /detokenize`
`{"tokens"}` → `{"prompt", "content"}`, `GET /tokenizer_info`. Without a model's name, the one that was given or, where
none was, the only one that is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.serving.api_errors import json_response
from slmdesk.serving.dialects.bodies import Body, read_body
from slmdesk.serving.gate import CALLER
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from aiohttp import web

    from slmdesk.serving.models import Models


class TokenizerBody(Body):
    """A text, by either name. Nothing is put before or behind it unless `add_special_tokens` or `add_special`."""

    model: str | None = None
    prompt: str | None = None
    content: str | None = None
    add_special_tokens: bool | None = None
    add_special: bool | None = None


class DetokenizeBody(Body):
    """Tokens."""

    model: str | None = None
    tokens: list[int] | None = None


class TokenRoutes:
    """Handlers."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def tokenize(self, request: web.Request) -> web.Response:
        """Tokens of a text."""
        body = read_body(await request.read(), TokenizerBody)
        text = body.prompt if body.prompt is not None else body.content
        if text is None:
            refuse("prompt", "“prompt” is missing.", code="missing_field")
        async with self._models.use(self._name(body.model), trusted=request[CALLER].trusted) as held:
            engine = held.engine
            begin = engine.facts.bos if body.add_special_tokens or body.add_special else ""
            tokens = await engine.tokenize(begin + text.removeprefix(begin) if begin else text)
        told = {"tokens": tokens, "count": len(tokens), "max_model_len": engine.facts.context_length}
        return json_response(told)

    async def detokenize(self, request: web.Request) -> web.Response:
        """Text of tokens."""
        body = read_body(await request.read(), DetokenizeBody)
        async with self._models.use(self._name(body.model), trusted=request[CALLER].trusted) as held:
            text = await held.engine.detokenize(body.tokens or ())
        return json_response({"prompt": text, "content": text})

    async def info(self, request: web.Request) -> web.Response:
        """The tokens that begin and end a text."""
        name = self._name(request.query.get("model"))
        async with self._models.use(name, trusted=request[CALLER].trusted) as held:
            facts = held.engine.facts
        told = {"bos_token": facts.bos or None, "eos_token": facts.eos or None, "pad_token": None}
        return json_response({**told, "vocab_size": facts.vocabulary, "max_model_len": facts.context_length})

    def _name(self, asked: str | None) -> str:
        if asked and asked.strip():
            return asked.strip()
        names = list(self._models.given) or [
            slot.id for slot in self._models.slots if slot.engine is not None
        ]
        if not names:
            refuse("model", "“model” is missing, and none is loaded.", code="missing_field")
        return names[0]
