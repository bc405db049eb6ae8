"""The OpenAI routes as other programs see them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import MODEL, Running

pytestmark = pytest.mark.timeout(60)


def test_health(service: Running) -> None:
    health = service.ask("GET", "/health").json
    assert health["status"] == "ok"
    assert health["pid"] == service.process.pid


def test_models_are_listed_and_shown(service: Running) -> None:
    listed = service.ask("GET", "/v1/models").json
    assert listed["object"] == "list"
    entry = next(entry for entry in listed["data"] if entry["id"] == MODEL)
    assert entry["object"] == "model"
    assert entry["owned_by"] == "slmdesk"
    assert entry["created"] > 0
    assert entry["loaded"]
    assert entry["quant"] == "F16"
    assert service.ask("GET", f"/v1/models/{MODEL}").json == entry
    assert service.ask("GET", f"/v1/models/{MODEL}:F16").json["id"] == f"{MODEL}:F16"


def test_a_whole_chat_answer(service: Running) -> None:
    answer = service.chat(max_tokens=64)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == MODEL
    (choice,) = body["choices"]
    assert choice["index"] == 0
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert "4" in choice["message"]["content"]
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 64
    assert usage["prompt_tokens_details"]["cached_tokens"] >= 0
    assert body["timings"]["tokens_per_s"] > 0


def test_a_streamed_chat_answer_is_the_whole_one_in_pieces(service: Running) -> None:
    whole = service.chat().json
    answer = service.chat(stream=True, stream_options={"include_usage": True})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    first, *pieces, last, usage = answer.chunks
    assert {chunk["object"] for chunk in answer.chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in answer.chunks}) == 1
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    ]
    for piece in pieces:
        (choice,) = piece["choices"]
        assert set(choice["delta"]) == {"content"}
        assert choice["finish_reason"] is None
        assert piece["usage"] is None
    text = "".join(piece["choices"][0]["delta"]["content"] for piece in pieces)
    assert text == whole["choices"][0]["message"]["content"]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert last["timings"]["tokens_per_s"] > 0
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 12
    assert usage["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]


def test_a_stream_without_usage_has_none(service: Running) -> None:
    chunks = service.chat(stream=True).chunks
    assert all("usage" not in chunk for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks)


def test_text_completions_whole_and_streamed(service: Running) -> None:
    request = {
        "model": MODEL,
        "prompt": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
        "temperature": 0,
    }
    whole = service.post("/v1/completions", {**request, "max_tokens": 9}).json
    assert whole["object"] == "text_completion"
    assert whole["id"].startswith("cmpl-")
    (choice,) = whole["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["text"]
    streamed = service.post("/v1/completions", {**request, "max_tokens": 9, "stream": True}).chunks
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == choice["text"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in streamed][-1] == "length"
    assert {chunk["object"] for chunk in streamed} == {"text_completion"}


def test_a_client_of_http_1_0_gets_the_stream_unframed(service: Running) -> None:
    import socket

    host, port = service.netloc.split(":")
    body = json.dumps(
        {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 3}
    )
    head = f"POST /v1/chat/completions HTTP/1.0\r\nHost: {service.netloc}\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{head}\r\n{body}".encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, stream = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert stream.startswith(b"data: {")
    assert stream.endswith(b"data: [DONE]\n\n")


def test_several_requests_share_one_connection(service: Running) -> None:
    connection = service.connection()
    try:
        for _ in range(2):
            for stream in (True, False):
                body = {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": "Hi"}],
                    "stream": stream,
                    "max_tokens": 2,
                }
                connection.request("POST", "/v1/chat/completions", json.dumps(body))
                response = connection.getresponse()
                assert response.status == 200
                assert response.read()
                assert not response.will_close
    finally:
        connection.close()


def test_content_may_come_in_text_parts(service: Running) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "Q4_K_M?"}]
    assert (
        service.chat(messages=[{"role": "user", "content": parts}]).json["choices"]
        == service.chat().json["choices"]
    )


def test_stop_strings_end_the_answer_and_are_left_out(service: Running) -> None:
    text = service.chat(max_tokens=40).json["choices"][0]["message"]["content"]
    stop = text[10:14]
    for given in (stop, ["never in there", stop]):
        choice = service.chat(max_tokens=40, stop=given).json["choices"][0]
        assert choice["message"]["content"] == text[: text.index(stop)]
        assert choice["finish_reason"] == "stop"


def test_max_completion_tokens_counts_before_max_tokens(service: Running) -> None:
    usage = service.chat(max_tokens=9, max_completion_tokens=3).json["usage"]
    assert usage["completion_tokens"] == 3


def test_a_seed_makes_answers_repeatable(service: Running) -> None:
    def texts(seed: int) -> str:
        return str(
            service.chat(temperature=2, seed=seed, top_k=0, min_p=0, top_p=1).json["choices"][0]["message"]
        )

    texts(1)  # with the prompt cached, the answers below are computed in batches of one shape
    assert texts(7) == texts(7)
    assert len({texts(seed) for seed in range(5)}) > 1


def test_logit_bias_forbids_tokens(service: Running) -> None:
    prompt = {"model": MODEL, "prompt": "What", "temperature": 0, "max_tokens": 1}
    plain = service.post("/v1/completions", prompt).json["choices"][0]["text"]
    # Which token that was is not told, so forbid all of them by turns: one of the turns must change it.
    changed = [
        service.post("/v1/completions", {**prompt, "logit_bias": {str(t): -100 for t in ids}}).json[
            "choices"
        ][0]["text"]
        for ids in (range(1000), range(1000, 2000), range(2000, 3000), range(3000, 3072))
    ]
    assert any(text != plain for text in changed)


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "schema": {
                    "type": "object",
                    "properties": {"quant": {"enum": ["Q4_K_M", "Q8_0"]}},
                    "required": ["quant"],
                    "additionalProperties": False,
                },
            },
        },
    ],
)
def test_answers_in_json(service: Running, form: dict[str, Any]) -> None:
    choice = service.chat(response_format=form, max_tokens=200).json["choices"][0]
    if choice["finish_reason"] == "stop":
        answer = json.loads(choice["message"]["content"])
        assert isinstance(answer, dict)
        if form["type"] == "json_schema":
            assert answer["quant"] in {"Q4_K_M", "Q8_0"}
    else:
        assert choice["message"]["content"].lstrip().startswith("{")


def test_a_grammar_shapes_the_answer(service: Running) -> None:
    choice = service.chat(grammar='root ::= "yes" | "no"').json["choices"][0]
    assert choice["message"]["content"] in {"yes", "no"}


def test_text_of_any_script_comes_back_whole(service: Running) -> None:
    choice = service.chat(grammar='root ::= "Grüße, 世界 🙂 \\"\\\\\\n"', stream=True, max_tokens=80).chunks
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in choice)
    assert text == 'Grüße, 世界 🙂 "\\\n'
