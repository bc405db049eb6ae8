"""The `anthropic` package for Python."""

from __future__ import annotations

from typing import Any

from tests.clients.common import CITIES, FRANCE, KEY, MESSAGES, PARAMETERS, Check, Server, opened

TOOL: dict[str, Any] = {"name": "get_weather", "description": "Weather.", "input_schema": PARAMETERS}
COLD: dict[str, Any] = {"temperature": 0}


def _client(server: Server) -> Any:
    from anthropic import Anthropic

    return opened(Anthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=300))


def _asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def chat(server: Server) -> None:
    client = _client(server)
    answer = client.messages.create(
        model=server.model, max_tokens=40, system="Be brief.", messages=_asked(FRANCE), extra_body=COLD
    )
    assert "Paris" in answer.content[0].text
    assert answer.stop_reason in {"end_turn", "max_tokens"}
    counted = client.messages.count_tokens(model=server.model, system="Be brief.", messages=_asked(FRANCE))
    usage = answer.usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    cut = client.messages.create(
        model=server.model, max_tokens=40, messages=_asked(FRANCE), stop_sequences=["Paris"], extra_body=COLD
    )
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", "Paris")


def stream(server: Server) -> None:
    with _client(server).messages.stream(
        model=server.model, max_tokens=40, messages=_asked(FRANCE), extra_body=COLD
    ) as events:
        text = "".join(events.text_stream)
        whole = events.get_final_message()
    assert "Paris" in text
    assert whole.content[0].text == text
    assert whole.usage.output_tokens > 0


def tools(server: Server) -> None:
    client = _client(server)
    answer = client.messages.create(
        model=server.model, max_tokens=100, messages=MESSAGES, tools=[TOOL], tool_choice={"type": "any"}
    )
    (call,) = answer.content
    assert answer.stop_reason == "tool_use"
    assert call.input["city"] in CITIES
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Heavy snow"}
    last = client.messages.create(
        model=server.model,
        max_tokens=30,
        messages=[
            *MESSAGES,
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [result]},
        ],
        tools=[TOOL],
        extra_body=COLD,
    )
    assert "snow" in last.content[0].text.lower()


def tools_streamed(server: Server) -> None:
    with _client(server).messages.stream(
        model=server.model,
        max_tokens=100,
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "get_weather"},
    ) as events:
        pieces = [event.partial_json for event in events if event.type == "input_json"]
        whole = events.get_final_message()
    assert len(pieces) > 1
    assert whole.content[0].input["city"] in CITIES


def errors(server: Server) -> None:
    import anthropic

    refused: Any = None
    try:
        _client(server).messages.create(model=server.model, max_tokens=5, messages=[])
    except anthropic.BadRequestError as error:
        refused = error
    assert refused.body["error"]["type"] == "invalid_request_error"


CHECKS: dict[str, Check] = {
    "chat": chat,
    "stream": stream,
    "tools": tools,
    "tools, streamed": tools_streamed,
    "errors": errors,
}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
