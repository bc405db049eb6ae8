"""Routes that make vectors of texts, and rank documents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.serving.dialects.openai_embeddings import (
    read_embeddings,
    read_rerank,
    write_embeddings,
    write_rerank,
)
from slmdesk.serving.gate import CALLER

if TYPE_CHECKING:
    from slmdesk.serving.texts import Texts

_LARGE = 64 * 1024  # bytes of vectors; writing more than this leaves the event loop


class TextRoutes:
    """Handlers. Errors are written by whoever stands before them, in the form of the OpenAI API."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    async def embeddings(self, request: web.Request) -> web.Response:
        """`POST /v1/embeddings`"""
        asked = read_embeddings(await request.read())
        vectors = await self._texts.embed(
            asked.model,
            asked.texts,
            trusted=request[CALLER].trusted,
            truncate=asked.truncate,
            dimensions=asked.dimensions,
            context_length=asked.context_length,
        )
        if len(vectors.data) < _LARGE:
            return _json(write_embeddings(asked, vectors))
        return _json(await asyncio.to_thread(write_embeddings, asked, vectors))

    async def rerank(self, request: web.Request) -> web.Response:
        """`POST /v1/rerank`"""
        asked = read_rerank(await request.read())
        scores = await self._texts.rank(
            asked.model,
            asked.query,
            asked.documents,
            trusted=request[CALLER].trusted,
            truncate=asked.truncate,
            raw=asked.raw,
            context_length=asked.context_length,
        )
        return _json(write_rerank(asked, scores))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
