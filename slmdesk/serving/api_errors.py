"""Errors in the form of the OpenAI API: which status a code has, and the JSON object around it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.core.error_codes import ErrorCode

# What is not listed is a failure of the model or its engine: 500.
_STATUS: dict[ErrorCode, int] = {
    "malformed_json": 400,
    "invalid_type": 400,
    "invalid_value": 400,
    "missing_field": 400,
    "unsupported": 400,
    "bad_request": 400,
    "context_exceeded": 400,
    "grammar_invalid": 400,
    "schema_invalid": 400,
    "template_failed": 400,
    "template_missing": 400,
    "unauthorized": 401,
    "host_refused": 403,
    "origin_refused": 403,
    "model_not_found": 404,
    "model_ambiguous": 404,
    "route_unknown": 404,
    "method_not_allowed": 405,
    "model_busy": 409,
    "service_busy": 409,
    "body_too_large": 413,
    "out_of_memory": 503,
    "memory_insufficient": 503,
    "models_busy": 503,
    "engine_start_timeout": 503,
    "engine_keeps_failing": 503,
    "service_stopping": 503,
    "model_unloaded": 503,
    "file_missing": 503,
    "folder_missing": 503,
}

# Programs written against the API know these by other names.
_THEIR_CODE: dict[ErrorCode, str] = {
    "context_exceeded": "context_length_exceeded",
    "unauthorized": "invalid_api_key",
}

_THEIR_TYPE = {401: "authentication_error", 403: "permission_error", 500: "server_error", 503: "server_error"}


def status_of(error: SlmDeskError) -> int:
    """The HTTP status that an error is answered with."""
    return _STATUS.get(error.code, 500)


def error_object(error: SlmDeskError) -> dict[str, Any]:
    """`{"error": {...}}`. The error as our own front ends know it is inside, under `slmdesk`."""
    return {
        "error": {
            "message": str(error),
            "type": _THEIR_TYPE.get(status_of(error), "invalid_request_error"),
            "param": getattr(error, "param", None),
            "code": _THEIR_CODE.get(error.code, error.code),
            "slmdesk": error.to_json(),
        }
    }


def error_response(error: SlmDeskError) -> web.Response:
    """The whole answer to a request that failed before anything of it was sent."""
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return json_response(error_object(error), status=status, headers=headers)


def json_response(data: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def from_http(error: web.HTTPException, method: str, path: str) -> SlmDeskError:
    """What aiohttp raises by itself, as one of ours."""
    match error.status:
        case 404:
            return SlmDeskError(
                "route_unknown",
                f"There is no {path} here.",
                "The API is below /v1, as in /v1/chat/completions.",
            )
        case 405:
            return SlmDeskError("method_not_allowed", f"{path} does not answer to {method}.", "")
        case 413:
            return SlmDeskError(
                "body_too_large", "The body is larger than 16 MiB.", "Send a shorter request."
            )
        case _:
            return SlmDeskError("bad_request", f"The request cannot be read: {error.reason}.", "")
