"""The `ollama` package for Python."""

from __future__ import annotations

import json
from typing import Any

from tests.clients.common import (
    CITIES,
    EMBEDDER,
    FRANCE,
    MESSAGES,
    PARAMETERS,
    TEXTS,
    TOOL,
    Check,
    Server,
    check_vectors,
    opened,
)

COLD = {"temperature": 0, "num_predict": 40}


def _client(server: Server) -> Any:
    from ollama import Client

    return opened(Client(server.url, timeout=300))


def chat(server: Server) -> None:
    client = _client(server)
    asked = [{"role": "user", "content": FRANCE}]
    answer = client.chat(server.model, messages=asked, options=COLD)
    assert "Paris" in answer.message.content
    assert answer.eval_count > 0
    assert answer.eval_duration > 0
    said = client.generate(server.model, FRANCE, options=COLD)
    assert "Paris" in said.response
    raw = client.generate(
        server.model, "The capital of France is", raw=True, options={**COLD, "num_predict": 3}
    )
    assert "Paris" in raw.response


def stream(server: Server) -> None:
    asked = [{"role": "user", "content": FRANCE}]
    parts = list(_client(server).chat(server.model, messages=asked, stream=True, options=COLD))
    assert "Paris" in "".join(part.message.content for part in parts)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def structured(server: Server) -> None:
    answer = _client(server).chat(
        server.model, messages=MESSAGES, format=PARAMETERS, options={"temperature": 1.5, "num_predict": 60}
    )
    assert json.loads(answer.message.content)["city"] in CITIES


def tools(server: Server) -> None:
    called = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_name": "get_weather", "content": "Heavy snow"},
    ]
    answer = _client(server).chat(server.model, messages=messages, tools=[TOOL], options=COLD)
    assert "snow" in answer.message.content.lower()


def models(server: Server) -> None:
    client = _client(server)
    names = [model.model for model in client.list().models]
    assert server.model in names
    assert client.show(server.model).details.quantization_level
    client.generate(server.model, "")
    assert any(model.size > 0 for model in client.ps().models)


def created(server: Server) -> None:
    client = _client(server)
    kept = {"temperature": 0, "num_predict": 12}
    client.create("captain", from_=server.model, system="Answer in one sentence.", parameters=kept)
    client.copy("captain", "captain:two")
    assert {"captain:latest", "captain:two"} <= {model.model for model in client.list().models}
    assert "Answer in one sentence." in (client.show("captain").modelfile or "")
    asked = [{"role": "user", "content": FRANCE}]
    answer = client.chat("captain:two", messages=asked)
    assert "Paris" in answer.message.content
    assert answer.eval_count <= 12
    for name in ("captain", "captain:two"):
        client.delete(name)
    assert not any("captain" in model.model for model in client.list().models)


def embeddings(server: Server) -> None:
    client = _client(server)
    answer = client.embed(EMBEDDER, TEXTS)
    check_vectors([list(row) for row in answer.embeddings])
    assert answer.prompt_eval_count > 2 * len(TEXTS)
    old = client.embeddings(EMBEDDER, TEXTS[0]).embedding
    assert sum(a * b for a, b in zip(old, answer.embeddings[0], strict=True)) > 0.999


CHECKS: dict[str, Check] = {
    "chat": chat,
    "stream": stream,
    "structured output": structured,
    "tools": tools,
    "embeddings": embeddings,
    "models": models,
    "created models": created,
}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
