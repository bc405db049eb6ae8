"""`POST /v1/embeddings`, as OpenAI has it, and `POST /v1/rerank`, as Jina and Cohere have it: read and written."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from slmdesk.inference.vectors import MOST_PASSAGES
from slmdesk.serving.dialects.bodies import (
    Body,
    Number,
    read_body,
    required,
    whole,
)
from slmdesk.serving.dialects.openai_requests import read_model
from slmdesk.serving.request_errors import RequestError, refuse

if TYPE_CHECKING:
    from slmdesk.inference.vectors import Passage, Scores, Vectors

_MOST_NUMBERS = 2**20  # of a vector
_MOST_CONTEXT = 2**24
_LARGEST_TOKEN = 2**31


class EmbeddingsBody(Body):
    """`POST /v1/embeddings`. `input`: a text, tokens, or a list of either. `truncate` is ours: cut what is too long."""

    model: str | None = None
    input: str | list[Any] | None = None
    encoding_format: str | None = None
    dimensions: Number | None = None
    truncate: bool | None = None
    context_length: Number | None = None


class RerankBody(Body):
    """`POST /v1/rerank`. `raw_scores` and `truncate` are ours."""

    model: str | None = None
    query: str | None = None
    documents: list[Any] | None = None
    top_n: Number | None = None
    return_documents: bool | None = None
    raw_scores: bool | None = None
    truncate: bool | None = None
    context_length: Number | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingsAsked:
    """What a request for vectors wants. `dimensions`: 0 for all. `keep_s`: as in `Asked`."""

    model: str
    texts: tuple[Passage, ...]
    as_base64: bool = False
    dimensions: int = 0
    truncate: bool = False
    context_length: int = 0
    keep_s: float | None = None


@dataclass(frozen=True, slots=True)
class RerankAsked:
    """What a request to rank wants. `top_n`: so many of the best, 0 for all."""

    model: str
    query: str
    documents: tuple[str, ...]
    top_n: int = 0
    returns_documents: bool = False
    raw: bool = False
    truncate: bool = False
    context_length: int = 0


def read_embeddings(data: bytes) -> EmbeddingsAsked:
    """Raises `RequestError`."""
    body = read_body(data, EmbeddingsBody)
    form = body.encoding_format or "float"
    if form not in {"float", "base64"}:
        refuse("encoding_format", "“encoding_format” is neither “float” nor “base64”.", "Choose one of them.")
    return EmbeddingsAsked(
        model=read_model(body.model),
        texts=_texts(body.input),
        as_base64=form == "base64",
        dimensions=whole("dimensions", body.dimensions, 1, _MOST_NUMBERS) or 0,
        truncate=bool(body.truncate),
        context_length=whole("context_length", body.context_length, 1, _MOST_CONTEXT) or 0,
    )


def write_embeddings(asked: EmbeddingsAsked, vectors: Vectors) -> bytes:
    """The whole answer as JSON."""
    texts = (base64.b64encode(row).decode() for row in vectors.rows())
    values = texts if asked.as_base64 else vectors.lists()
    entries = [
        {"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(values)
    ]
    usage = _usage(sum(vectors.tokens))
    return msgspec.json.encode({"object": "list", "data": entries, "model": asked.model, "usage": usage})


def read_rerank(data: bytes) -> RerankAsked:
    """Raises `RequestError`."""
    body = read_body(data, RerankBody)
    documents = required("documents", body.documents)
    _check_count("documents", len(documents))
    query = required("query", body.query)
    if not query.strip():
        refuse("query", "“query” is empty.", "Say what the documents are to be ranked for.")
    return RerankAsked(
        model=read_model(body.model),
        query=query,
        documents=tuple(_document(document, index) for index, document in enumerate(documents)),
        top_n=whole("top_n", body.top_n, 1, 2**31) or 0,
        returns_documents=bool(body.return_documents),
        raw=bool(body.raw_scores),
        truncate=bool(body.truncate),
        context_length=whole("context_length", body.context_length, 1, _MOST_CONTEXT) or 0,
    )


def write_rerank(asked: RerankAsked, scores: Scores) -> bytes:
    """The whole answer as JSON, the best document first; of equal ones the earlier."""
    order = sorted(range(len(scores.scores)), key=lambda index: (-scores.scores[index], index))
    results: list[dict[str, Any]] = []
    for index in order[: asked.top_n or None]:
        result: dict[str, Any] = {"index": index, "relevance_score": scores.scores[index]}
        if asked.returns_documents:
            result["document"] = {"text": asked.documents[index]}
        results.append(result)
    return msgspec.json.encode(
        {
            "id": f"rerank-{secrets.token_hex(12)}",
            "object": "list",
            "model": asked.model,
            "usage": _usage(sum(scores.tokens)),
            "results": results,
        }
    )


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _texts(value: str | list[Any] | None) -> tuple[Passage, ...]:
    """A text, tokens, texts or lists of tokens."""
    if value is None:
        refuse("input", "“input” is missing.", code="missing_field")
    if isinstance(value, str):
        return (value,)
    if value and all(_is_token(item) for item in value):
        return (tuple(value),)
    _check_count("input", len(value))
    return tuple(_text(item, index) for index, item in enumerate(value))


def _text(item: Any, index: int) -> Passage:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and item and all(_is_token(token) for token in item):
        return tuple(item)
    name = f"input[{index}]"
    if isinstance(item, dict):
        message = f"“{name}” is an object; vectors are made of texts and tokens only."
        raise RequestError("unsupported", message, "Send a text.", param=name)
    raise RequestError("invalid_type", f"“{name}” must be a string or a list of tokens.", param=name)


def _document(item: Any, index: int) -> str:
    if isinstance(item, str):
        return item
    name = f"documents[{index}]"
    if not isinstance(item, dict):
        message = f"“{name}” must be a string or an object with “text”."
        raise RequestError("invalid_type", message, param=name)
    if not isinstance(item.get("text"), str):
        message = f"“{name}” has no “text”; only texts are ranked."
        raise RequestError("unsupported", message, 'Send a string or {"text": …}.', param=name)
    return str(item["text"])


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST_TOKEN


def _check_count(name: str, count: int) -> None:
    if not count:
        refuse(name, f"“{name}” is empty.", "Send at least one text.")
    if count > MOST_PASSAGES:
        refuse(
            name, f"“{name}” has {count} texts; {MOST_PASSAGES} at most can be sent at once.", "Send fewer."
        )
