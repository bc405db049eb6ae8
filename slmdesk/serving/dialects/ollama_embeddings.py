"""`POST /api/embed`, and `POST /api/embeddings` as older clients of Ollama have it: read and written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from slmdesk.serving.dialects.bodies import Body, Number, read_body, whole
from slmdesk.serving.dialects.ollama_management import read_keep_alive
from slmdesk.serving.dialects.ollama_requests import OllamaOptions
from slmdesk.serving.dialects.openai_embeddings import EmbeddingsAsked
from slmdesk.serving.dialects.openai_requests import read_model
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from slmdesk.inference.vectors import Vectors

_MOST_CONTEXT = 2**24
_MOST_NUMBERS = 2**20


class EmbedBody(Body):
    """`POST /api/embed`; the older path has one text, as `prompt`.

    What is too long is cut unless `truncate` is false.
    """

    model: str | None = None
    input: str | list[str] | None = None
    prompt: str | None = None
    truncate: bool | None = None
    dimensions: Number | None = None
    options: OllamaOptions | None = None
    keep_alive: str | Number | None = None


def read_embed(data: bytes, *, single: bool = False) -> EmbeddingsAsked:
    """`single`: the older path. Raises `RequestError`."""
    body = read_body(data, EmbedBody)
    name = "prompt" if single else "input"
    given = body.prompt if single else body.input
    if given is None:
        refuse(name, f"“{name}” is missing.", code="missing_field")
    options = body.options or OllamaOptions()
    return EmbeddingsAsked(
        model=read_model(body.model),
        texts=(given,) if isinstance(given, str) else tuple(given),
        dimensions=whole("dimensions", body.dimensions, 1, _MOST_NUMBERS) or 0,
        truncate=body.truncate is not False,
        context_length=whole("options.num_ctx", options.num_ctx, 1, _MOST_CONTEXT) or 0,
        keep_s=read_keep_alive(body.keep_alive),
    )


def write_embed(
    asked: EmbeddingsAsked, vectors: Vectors | None, began: float, *, single: bool = False
) -> bytes:
    """The whole answer; `began` by `time.perf_counter`. None: there was no text, which only loads the model."""
    rows = vectors.lists() if vectors is not None else []
    if single:
        return msgspec.json.encode({"embedding": rows[0] if rows else []})
    told: dict[str, Any] = {
        "model": asked.model,
        "embeddings": rows,
        "total_duration": int((time.perf_counter() - began) * 1e9),
        "load_duration": 0,
        "prompt_eval_count": sum(vectors.tokens) if vectors is not None else 0,
    }
    return msgspec.json.encode(told)
