"""The description of the service's APIs for programs: OpenAPI 3.1, at `/openapi.json`.

It is made of the router's own routes and of the structs that request bodies are read into, so it cannot tell anything
else than what the service does. Source of the format: OpenAPI Specification 3.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from slmdesk import __version__
from slmdesk.serving.api_errors import ERROR_STATUSES, form_of
from slmdesk.serving.dialects.anthropic_requests import MessagesBody
from slmdesk.serving.dialects.ollama_embeddings import EmbedBody
from slmdesk.serving.dialects.ollama_management import CopyBody, CreateBody, NamedBody
from slmdesk.serving.dialects.ollama_requests import OllamaChatBody, OllamaGenerateBody
from slmdesk.serving.dialects.openai_bodies import ChatBody, CompletionBody
from slmdesk.serving.dialects.openai_embeddings import EmbeddingsBody, RerankBody
from slmdesk.serving.dialects.responses_requests import ResponsesBody
from slmdesk.serving.token_routes import DetokenizeBody, TokenizerBody

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from slmdesk.serving.dialects.bodies import Body

PATH = "/openapi.json"
_JSON, _EVENTS, _LINES, _TEXT = "application/json", "text/event-stream", "application/x-ndjson", "text/plain"
_OWN = "/slmdesk/"  # what our own front ends speak changes with them
_REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of the description: what it does, the struct of its body, and as what else than JSON it may answer."""

    summary: str
    body: type[Body] | None = None
    streams: str = ""
    answers: str = _JSON
    raw_body: bool = False  # bytes instead of JSON


OPERATIONS: dict[tuple[str, str], Operation] = {  # by method and path
    ("GET", "/"): Operation("Whether the service is there"),
    ("GET", "/health"): Operation("Whether the service is there"),
    ("GET", "/metrics"): Operation("Figures for Prometheus", answers=_TEXT),
    ("GET", "/slots"): Operation("What is being answered, without content"),
    ("GET", PATH): Operation("This description"),
    ("GET", "/v1/models"): Operation("The models that can be asked"),
    ("GET", "/v1/models/{id}"): Operation("One model"),
    ("POST", "/v1/chat/completions"): Operation("The next turn of a conversation", ChatBody, _EVENTS),
    ("POST", "/v1/completions"): Operation("What follows a text", CompletionBody, _EVENTS),
    ("POST", "/v1/embeddings"): Operation("Vectors of texts", EmbeddingsBody),
    ("POST", "/v1/rerank"): Operation("Documents in the order in which they answer a query", RerankBody),
    ("POST", "/rerank"): Operation("Documents in the order in which they answer a query", RerankBody),
    ("POST", "/v1/responses"): Operation("A response, kept to go on from", ResponsesBody, _EVENTS),
    ("GET", "/v1/responses/{id}"): Operation("A response that was kept"),
    ("DELETE", "/v1/responses/{id}"): Operation("Forget a response"),
    ("POST", "/v1/messages"): Operation("The next turn, as Anthropic's API has it", MessagesBody, _EVENTS),
    ("POST", "/v1/messages/count_tokens"): Operation("How many tokens a request has", MessagesBody),
    ("POST", "/tokenize"): Operation("Tokens of a text", TokenizerBody),
    ("POST", "/detokenize"): Operation("The text of tokens", DetokenizeBody),
    ("GET", "/tokenizer_info"): Operation("The tokens that begin and end a text"),
    ("POST", "/api/chat"): Operation("The next turn, as Ollama's API has it", OllamaChatBody, _LINES),
    ("POST", "/api/generate"): Operation("What answers a prompt", OllamaGenerateBody, _LINES),
    ("POST", "/api/embed"): Operation("Vectors of texts", EmbedBody),
    ("POST", "/api/embeddings"): Operation("The vector of one text", EmbedBody),
    ("POST", "/api/show"): Operation("What a model is", NamedBody),
    ("GET", "/api/tags"): Operation("The models that are here"),
    ("GET", "/api/ps"): Operation("The models that are loaded"),
    ("GET", "/api/version"): Operation("The release of Ollama whose API this is"),
    ("POST", "/api/pull"): Operation("Download a model", NamedBody, _LINES),
    ("POST", "/api/push"): Operation("Refused: models are not sent away", NamedBody),
    ("POST", "/api/copy"): Operation("Give a model another name", CopyBody),
    ("POST", "/api/create"): Operation("Make a model of another one", CreateBody, _LINES),
    ("DELETE", "/api/delete"): Operation("Remove a model", NamedBody),
    ("HEAD", "/api/blobs/{digest}"): Operation("Whether a file was sent"),
    ("POST", "/api/blobs/{digest}"): Operation("Send a file", raw_body=True),
}

_ERRORS: dict[str, dict[str, Any]] = {
    "openai": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string", "minLength": 1},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    "anthropic": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": {"type": "string"}, "message": {"type": "string", "minLength": 1}},
            },
        },
    },
    "ollama": {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string", "minLength": 1}},
    },
}


def described(routes: Iterable[web.AbstractRoute]) -> dict[str, Any]:
    """The description of these routes. Raises `KeyError` for a route that is not described above."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.resource.canonical if route.resource is not None else ""
        if path.startswith(_OWN) or (path.endswith("/") and path != "/"):
            continue
        operation = OPERATIONS.get((route.method, path))
        if operation is None:
            if route.method == "HEAD":  # which aiohttp adds to each GET
                continue
            raise KeyError(f"{route.method} {path} is not described")
        paths.setdefault(path, {})[route.method.lower()] = _operation(path, route.method, operation)
    bodies = {each.body for each in OPERATIONS.values() if each.body is not None}
    _, schemas = msgspec.json.schema_components(
        sorted(bodies, key=lambda one: one.__name__), ref_template=_REFERENCE
    )
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "SLM Desk",
            "version": __version__,
            "description": "Models on this machine, in the APIs that programs know. Fields that are not named here are"
            " ignored; null counts as absent.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**schemas, **{f"{form}_error": shape for form, shape in _ERRORS.items()}},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # By hand on this machine no key is asked for.
        "security": [{}, {"key": []}],
    }


def _operation(path: str, method: str, operation: Operation) -> dict[str, Any]:
    """One operation object."""
    content: dict[str, Any] = {operation.answers: {"schema": {}}}
    if operation.streams:
        content[operation.streams] = {"schema": {"type": "string"}}
    told: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *_words(path)]),
        "summary": operation.summary,
        "tags": [form_of(path)],
        "responses": {
            "200": {"description": operation.summary, "content": content},
            **{status: _error(form_of(path)) for status in map(str, ERROR_STATUSES)},
        },
    }
    if method == "HEAD":
        told["responses"] = {
            "200": {"description": "It was sent"},
            "404": {"description": "It was not"},
            "4XX": {"description": "An error"},
        }
    if path == "/api/copy":
        told["responses"]["200"] = {"description": operation.summary}
    if operation.raw_body:
        told["responses"]["201"] = {"description": operation.summary}
    if names := [part[1:-1] for part in path.split("/") if part.startswith("{")]:
        told["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    if operation.body is not None:
        schema = {"$ref": _REFERENCE.format(name=operation.body.__name__)}
        told["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    if operation.raw_body:
        told["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    return told


def _error(form: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name=f"{form}_error")}
    return {"description": "What happened and what to do", "content": {_JSON: {"schema": schema}}}


def _words(path: str) -> list[str]:
    return [part.strip("{}").replace(".", "_") for part in path.split("/") if part]
