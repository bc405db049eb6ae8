"""Routes that make vectors of texts, and rank documents."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.serving.dialects.ollama_embeddings import read_embed, write_embed
from slmdesk.serving.dialects.openai_embeddings import (
    read_embeddings,
    read_rerank,
    write_embeddings,
    write_rerank,
)
from slmdesk.serving.gate import CALLER

if TYPE_CHECKING:
    from slmdesk.inference.vectors import Vectors
    from slmdesk.serving.dialects.openai_embeddings import EmbeddingsAsked
    from slmdesk.serving.texts import Texts

_LARGE = 64 * 1024  # bytes of vectors; writing more than this leaves the event loop


class TextRoutes:
    """Handlers. Errors are written by whoever stands before them, in the form of the path's API."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    async def embeddings(self, request: web.Request) -> web.Response:
        """`POST /v1/embeddings`"""
        asked = read_embeddings(await request.read())
        vectors = await self._vectors(request, asked)
        if len(vectors.data) < _LARGE:
            return _json(write_embeddings(asked, vectors))
        return _json(await asyncio.to_thread(write_embeddings, asked, vectors))

    async def _vectors(self, request: web.Request, asked: EmbeddingsAsked) -> Vectors:
        return await self._texts.embed(
            asked.model,
            asked.texts,
            trusted=request[CALLER].trusted,
            truncate=asked.truncate,
            dimensions=asked.dimensions,
            context_length=asked.context_length,
            keep_s=asked.keep_s,
        )

    async def ollama_embed(self, request: web.Request) -> web.Response:
        """`POST /api/embed`"""
        return await self._ollama(request, single=False)

    async def ollama_embeddings(self, request: web.Request) -> web.Response:
        """`POST /api/embeddings`"""
        return await self._ollama(request, single=True)

    async def _ollama(self, request: web.Request, *, single: bool) -> web.Response:
        began = time.perf_counter()
        asked = read_embed(await request.read(), single=single)
        if not asked.texts or (single and not asked.texts[0]):
            await self._texts.load(asked.model, trusted=request[CALLER].trusted, keep_s=asked.keep_s)
            return _json(write_embed(asked, None, began, single=single))
        vectors = await self._vectors(request, asked)
        return _json(await asyncio.to_thread(write_embed, asked, vectors, began, single=single))

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
