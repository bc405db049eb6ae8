"""Errors as HTTP has them: which status a code has, and the JSON object around it in the form of each API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.try_later import TryLaterError

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
    "model_not_chat": 400,
    "body_incomplete": 408,
    "unauthorized": 401,
    "host_refused": 403,
    "origin_refused": 403,
    "model_not_found": 404,
    "response_not_found": 404,
    "repo_not_found": 404,
    "revision_not_found": 404,
    "choice_not_found": 404,
    "file_not_found": 404,
    "name_invalid": 400,
    "modelfile_invalid": 400,
    "format_unknown": 400,
    "target_unknown": 400,
    "target_missing": 400,
    "source_unsuitable": 400,
    "imatrix_needed": 400,
    "adapter_alone": 400,
    "output_exists": 409,
    "job_failed": 503,
    "file_unwritable": 503,
    "adapter_unsuitable": 400,
    "adapter_mismatch": 400,
    "adapter_missing": 400,
    "hash_wrong": 400,
    "blob_missing": 404,
    "duplicate": 409,
    "built_in_stays": 403,
    "outside_library": 403,
    "file_in_use": 409,
    "job_paused": 503,
    "job_cancelled": 409,
    "offline": 503,
    "disk_full": 503,
    "drive_missing": 503,
    "hub_unreachable": 503,
    "hub_timeout": 503,
    "hub_down": 503,
    "hub_error": 503,
    "hub_answer_invalid": 503,
    "connection_lost": 503,
    "rate_limited": 503,
    "token_missing": 403,
    "token_invalid": 403,
    "token_insufficient": 403,
    "licence_not_accepted": 403,
    "access_pending": 403,
    "access_refused": 403,
    "pickle_refused": 403,
    "file_flagged": 403,
    "repo_disabled": 403,
    "model_ambiguous": 404,
    "route_unknown": 404,
    "method_not_allowed": 405,
    "model_busy": 409,
    "service_busy": 409,
    "body_too_large": 413,
    "encoding_unsupported": 415,
    "not_gguf": 422,
    "gguf_truncated": 422,
    "gguf_version": 422,
    "gguf_damaged": 422,
    "gguf_no_weights": 422,
    "model_damaged": 422,
    "model_not_runnable": 422,
    "model_parts_missing": 422,
    "architecture_unknown": 422,
    "too_many_requests": 429,
    "headers_too_large": 431,
    "out_of_memory": 503,
    "memory_insufficient": 503,
    "models_busy": 503,
    "queue_full": 503,
    "too_many_connections": 503,
    "engine_start_timeout": 503,
    "engine_keeps_failing": 503,
    "service_stopping": 503,
    "model_unloaded": 503,
    "file_missing": 503,
    "folder_missing": 503,
}

# Programs written against the API know these by other names.

ERROR_STATUSES = tuple(sorted({400, 404, 405, *_STATUS.values()}))
"""Every status that an error may have."""

_THEIR_CODE: dict[ErrorCode, str] = {
    "context_exceeded": "context_length_exceeded",
    "unauthorized": "invalid_api_key",
}

_THEIR_TYPE = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
_ANTHROPIC_TYPE = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}

# Asking again may help after so many seconds, where the error itself does not say when.
_RETRY_AFTER_S: dict[ErrorCode, int] = {
    "models_busy": 5,
    "engine_start_timeout": 10,
    "service_stopping": 5,
    "model_unloaded": 1,
}

Form = Literal["openai", "anthropic", "ollama"]


def form_of(path: str) -> Form:
    """Whose form of errors the clients of this path know."""
    if path.startswith("/api/"):
        return "ollama"
    return "anthropic" if path.startswith("/v1/messages") else "openai"


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


def error_body(error: SlmDeskError, form: Form = "openai") -> dict[str, Any]:
    """The error in the form of one API; ours is inside each, under `slmdesk`."""
    if form == "openai":
        return error_object(error)
    if form == "ollama":
        return {"error": str(error), "slmdesk": error.to_json()}
    kind = _ANTHROPIC_TYPE.get(status_of(error), "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": str(error), "slmdesk": error.to_json()},
    }


def error_response(error: SlmDeskError, form: Form = "openai") -> web.Response:
    """The whole answer to a request that failed before anything of it was sent."""
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    wait = error.retry_after_s if isinstance(error, TryLaterError) else _RETRY_AFTER_S.get(error.code)
    if wait is not None:
        headers["Retry-After"] = str(wait)
    return json_response(error_body(error, form), status=status, headers=headers)


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
                "body_too_large", "The body is larger than this service takes.", "Send a shorter request."
            )
        case _:
            return SlmDeskError("bad_request", f"The request cannot be read: {error.reason}.", "")
