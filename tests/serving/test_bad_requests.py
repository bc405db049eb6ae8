"""What is wrong with a request is said with the right status, and the service goes on."""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmdesk.serving.dialects import openai
from slmdesk.serving.dialects.bodies import read_body
from slmdesk.serving.dialects.openai_bodies import ChatBody, ChatMessage, CompletionBody, TokenizeBody
from slmdesk.serving.dialects.openai_requests import read_tokenize
from slmdesk.serving.request_errors import RequestError

from .conftest import MODEL, Running, serve

pytestmark = pytest.mark.timeout(60)

MESSAGES = [{"role": "user", "content": "Hi"}]
_TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": "absent"}, "model", "missing_field"),
        ({"model": 7}, "model", "invalid_type"),
        ({"model": " "}, "model", "invalid_value"),
        ({"messages": "absent"}, "messages", "missing_field"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "Hi"}, "messages", "invalid_type"),
        ({"messages": ["Hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "king", "content": "Hi"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": ["user"], "content": "Hi"}]}, "messages[0].role", "invalid_type"),
        (
            {"messages": [{"role": "user", "content": [{"type": []}]}]},
            "messages[0].content[0]",
            "invalid_type",
        ),
        ({"messages": [{"role": "tool", "content": "4"}]}, "messages[0].tool_call_id", "missing_field"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]", "unsupported"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0]",
            "invalid_type",
        ),
        ({"temperature": "warm"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"temperature": -0.5}, "temperature", "invalid_value"),
        ({"top_p": -0.1}, "top_p", "invalid_value"),
        ({"top_k": 1.5}, "top_k", "invalid_type"),
        ({"min_p": 1.1}, "min_p", "invalid_value"),
        ({"presence_penalty": 3}, "presence_penalty", "invalid_value"),
        ({"frequency_penalty": -3}, "frequency_penalty", "invalid_value"),
        ({"repeat_penalty": 0}, "repeat_penalty", "invalid_value"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_completion_tokens": -5}, "max_completion_tokens", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
            "invalid_type",
        ),
        ({"stop": 5}, "stop", "invalid_type"),
        ({"stop": [5]}, "stop[0]", "invalid_type"),
        ({"stop": ["x"] * 17}, "stop", "invalid_value"),
        ({"n": 17}, "n", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"logprobs": 3}, "logprobs", "invalid_type"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_field"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "unsupported"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "invalid_value",
        ),
        ({"tools": [_TOOL, _TOOL]}, "tools", "invalid_value"),
        ({"tools": [_TOOL], "tool_choice": "always"}, "tool_choice", "invalid_value"),
        (
            {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "tool_choice",
            "invalid_value",
        ),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": "much"}}, "logit_bias", "invalid_type"),
        ({"logit_bias": {"999999": 1}}, "logit_bias", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "invalid_type"),
        ({"grammar": 'root ::= "a"', "response_format": {"type": "json_object"}}, "grammar", "invalid_value"),
    ],
)
def test_wrong_fields_are_named(service: Running, fields: dict[str, Any], param: str, code: str) -> None:
    answer = service.chat(**fields)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert (answer.error["param"], answer.error["code"]) == (param, code)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "suffix": "b", "echo": True}, "suffix"),
        ({"prompt": [1, 2], "suffix": "b"}, "suffix"),
        ({"prompt": "a", "logprobs": 99}, "logprobs"),
    ],
)
def test_wrong_fields_of_text_completions(service: Running, fields: dict[str, Any], param: str) -> None:
    answer = service.post("/v1/completions", {"model": MODEL, "max_tokens": 2, **fields})
    assert answer.status == 400
    assert answer.error["param"] == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b'{"model": NaN}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=[
        "empty",
        "cut",
        "array",
        "null",
        "string",
        "not utf-8",
        "nan",
        "long number",
        "deep array",
        "deep object",
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/slmdesk/v1/load"])
def test_bodies_that_are_no_json_object(service: Running, path: str, body: bytes) -> None:
    answer = service.post(path, body, service.own)
    assert answer.status == 400
    assert answer.error["code"] == "malformed_json"
    assert service.ask("GET", "/health").status == 200


def test_half_a_surrogate_pair_is_no_text(service: Running) -> None:
    body = {"model": MODEL, "max_tokens": 2}
    for path, field in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "\ud83d"}]}),
        ("/v1/chat/completions", {"messages": MESSAGES, "stop": ["\ud83d"]}),
        ("/v1/chat/completions", {"messages": MESSAGES, "model": "\ud83d"}),
        ("/v1/completions", {"prompt": "\ude42"}),
        ("/v1/completions", {"prompt": "a", "grammar": 'root ::= "\ud83d"'}),
        ("/v1/chat/completions", {"messages": MESSAGES, "chat_template_kwargs": {"\ud83d": 1}}),
    ):
        answer = service.post(path, {**body, **field})
        assert answer.status == 400, field
        assert answer.error["code"] == "malformed_json"
    raw = b'{"model": "\xed\xa0\x80", "prompt": "a"}'
    assert service.post("/v1/completions", raw).error["code"] == "malformed_json"
    whole = {**body, "prompt": "\U0001f642"}
    assert service.post("/v1/completions", json.dumps(whole).encode("ascii")).status == 200


def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(service: Running) -> None:
    for stream in (False, True):
        answer = service.chat(messages=[{"role": "user", "content": "word " * 3000}], stream=stream)
        assert answer.status == 400
        assert answer.error["code"] == "context_length_exceeded"
        assert "2048" in answer.error["message"]


def test_a_wrong_grammar_or_schema_is_the_callers_mistake(service: Running) -> None:
    assert service.chat(grammar="root ::= (").status == 400
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "no such type"}}}
    assert service.chat(response_format=schema).status == 400


@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "string", "minLength": 400000000}',
        '{"type": "array", "items": {"type": "integer"}, "maxItems": 1000000}',
        '{"type": "array", "uniqueItems": true}',
        *('{"properties": {"a": ' * levels + "{}" + "}}" * levels for levels in (60, 200, 300, 900, 40_000)),
    ],
    ids=lambda schema: f"{schema[:20]}-{len(schema)}",
)
def test_a_schema_that_nobody_can_answer_is_the_callers_mistake(service: Running, schema: str) -> None:
    question = f'"model": "{MODEL}", "messages": {json.dumps(MESSAGES)}, "max_tokens": 5'
    form = f'{{"type": "json_schema", "json_schema": {{"name": "a", "schema": {schema}}}}}'
    for stream in ("false", "true"):
        body = f'{{{question}, "stream": {stream}, "response_format": {form}}}'
        answer = service.post("/v1/chat/completions", body.encode())
        assert answer.status == 400
        assert answer.error["code"] in {"schema_invalid", "malformed_json"}
    assert service.chat(max_tokens=2).status == 200


def test_an_unknown_model_is_named_with_what_is_near(home: Path) -> None:
    with serve(home) as running:
        answer = running.chat(model="slmdesk/desk-gide")
        assert answer.status == 404
        assert answer.error["code"] == "model_not_found"
        assert MODEL in answer.error["message"]
        assert running.ask("GET", "/v1/models/nobody/nothing").status == 404


def test_who_shows_no_key_cannot_try_paths(service: Running) -> None:
    missing = service.chat(model="/nowhere/model.gguf")
    there = service.chat(model=str(service.paths.builtin_model))
    assert missing.status == there.status == 404
    assert missing.error["message"].replace("/nowhere/model.gguf", "") == there.error["message"].replace(
        str(service.paths.builtin_model), ""
    )


def test_unknown_routes_and_methods(service: Running) -> None:
    assert service.ask("GET", "/v2/models").error["code"] == "route_unknown"
    assert service.ask("GET", "/v2/models").status == 404
    wrong = service.ask("GET", "/v1/chat/completions")
    assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")
    assert service.ask("DELETE", f"/v1/models/{MODEL}").status == 405


def test_a_body_over_16_mib_is_refused(service: Running) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x" * (16 * 1024 * 1024)}]})
    host, port = service.netloc.split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {service.netloc}\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{head}Connection: close\r\n\r\n{body}".encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 413 ")
    error = json.loads(received.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == "body_too_large"
    assert service.ask("GET", "/health").status == 200


def test_the_end_of_the_service_is_only_for_who_knows_the_key(service: Running) -> None:
    assert service.post("/slmdesk/v1/shutdown", {}).status == 401
    assert service.ask("GET", "/health").json["status"] == "ok"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    sorted({name for kind in (ChatBody, CompletionBody, ChatMessage) for name in kind.__struct_fields__})
)


@given(
    st.dictionaries(_NAMES, _JSON, max_size=8),
    st.lists(st.dictionaries(_NAMES, _JSON, max_size=3), max_size=3),
)
def test_no_json_object_makes_the_checks_fail(body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    valid = {"model": "m", "messages": messages, "prompt": "p"}
    for candidate in (body, {**valid, **body}, {**body, **valid}):
        data = json.dumps(candidate).encode()
        for read in (
            openai.CHAT.read,
            openai.TEXT.read,
            lambda data: read_tokenize(read_body(data, TokenizeBody)),
        ):
            with suppress(RequestError):
                read(data)


@given(st.binary(max_size=60))
def test_no_bytes_make_the_parser_fail(data: bytes) -> None:
    with suppress(RequestError):
        assert isinstance(read_body(data, ChatBody), ChatBody)


def test_ollamas_lists_tell_no_folder_either(home: Path, desk_guide: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "mine.gguf"
    path.parent.mkdir()
    shutil.copy(desk_guide, path)
    with serve(home, "--model", str(path)) as running:
        assert running.chat(model="mine.gguf").status == 200
        said = [
            running.ask("GET", "/api/tags"),
            running.ask("GET", "/api/ps"),
            running.post("/api/show", {"model": "mine.gguf"}),
        ]
    assert [answer.status for answer in said] == [200, 200, 200]
    assert all(b"mine.gguf" in answer.body for answer in said)
    assert not any(b"elsewhere" in answer.body for answer in said)
