"""The `openai` package for Python."""

from __future__ import annotations

import json
from typing import Any, Literal

from tests.clients.common import (
    CITIES,
    EMBEDDER,
    FRANCE,
    KEY,
    MESSAGES,
    PARAMETERS,
    QUESTION,
    TEXTS,
    TOOL,
    Check,
    Server,
    check_vectors,
    opened,
)


def _client(server: Server) -> Any:
    from openai import OpenAI

    return opened(OpenAI(base_url=server.v1, api_key=KEY, max_retries=0, timeout=300))


def chat(server: Server) -> None:
    answer = _client(server).chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": FRANCE}],
        max_tokens=16,
        temperature=0,
        n=2,
        logprobs=True,
        top_logprobs=2,
    )
    first, second = answer.choices
    assert "Paris" in first.message.content
    assert first.message.content == second.message.content
    assert first.finish_reason in {"stop", "length"}
    tokens = first.logprobs.content
    assert "".join(token.token for token in tokens) == first.message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens == 2 * len(tokens)


def stream(server: Server) -> None:
    chunks = list(
        _client(server).chat.completions.create(
            model=server.model,
            messages=[{"role": "user", "content": FRANCE}],
            max_tokens=16,
            temperature=0,
            n=2,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = ["", ""]
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
    assert "Paris" in texts[0]
    assert texts[0] == texts[1]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0


def parse(server: Server) -> None:
    from pydantic import BaseModel, Field

    class Visit(BaseModel):
        city: Literal["Oslo", "Paris"]
        days: int = Field(ge=1, le=5)

    answer = _client(server).chat.completions.parse(
        model=server.model, messages=MESSAGES, response_format=Visit, max_tokens=100, temperature=1.5, seed=3
    )
    found = answer.choices[0].message.parsed
    assert isinstance(found, Visit)


def tools(server: Server) -> None:
    client = _client(server)
    answer = client.chat.completions.create(
        model=server.model,
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice="required",
        max_tokens=100,
        temperature=0,
    )
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert json.loads(message.tool_calls[0].function.arguments)["city"] in CITIES
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Heavy snow"}
    last = client.chat.completions.create(
        model=server.model, messages=[*MESSAGES, message, result], tools=[TOOL], max_tokens=30, temperature=0
    )
    assert "snow" in last.choices[0].message.content.lower()
    none = client.chat.completions.create(
        model=server.model, messages=MESSAGES, tools=[TOOL], tool_choice="none", max_tokens=8
    )
    assert none.choices[0].message.tool_calls is None
    assert none.choices[0].message.content


def tools_streamed(server: Server) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    with _client(server).chat.completions.stream(
        model=server.model, messages=MESSAGES, tools=[TOOL], tool_choice=named, max_tokens=100
    ) as events:
        pieces = [event.arguments_delta for event in events if event.type.endswith("arguments.delta")]
        whole = events.get_final_completion()
    call = whole.choices[0].message.tool_calls[0]
    assert len(pieces) > 1
    assert "".join(pieces) == call.function.arguments
    assert json.loads(call.function.arguments)["city"] in CITIES


def completions(server: Server) -> None:
    answer = _client(server).completions.create(
        model=server.model,
        prompt=["The capital of France is", "Two plus two is"],
        max_tokens=3,
        temperature=0,
        logprobs=2,
        echo=True,
    )
    first = answer.choices[0]
    assert first.text.startswith("The capital of France is")
    assert "Paris" in first.text
    assert "".join(first.logprobs.tokens) == first.text
    assert first.logprobs.token_logprobs[0] is None
    assert len(answer.choices) == 2
    tokens = _client(server).completions.create(
        model=server.model, prompt=[[1, 2, 3, 4]], max_tokens=0, echo=True, logprobs=1
    )
    assert tokens.usage.completion_tokens == 0
    assert len(tokens.choices[0].logprobs.tokens) == 4


def responses(server: Server) -> None:
    client = _client(server)
    first = client.responses.create(
        model=server.model, instructions="Be brief.", input=FRANCE, max_output_tokens=60, temperature=0
    )
    assert "Paris" in first.output_text
    second = client.responses.create(
        model=server.model, previous_response_id=first.id, input="Why?", max_output_tokens=8, temperature=0
    )
    assert second.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(first.id).output_text == first.output_text
    tool = {"type": "function", "name": "get_weather", "description": "Weather.", "parameters": PARAMETERS}
    asked = client.responses.create(model=server.model, input=QUESTION, tools=[tool], tool_choice="required")
    (call,) = asked.output
    assert json.loads(call.arguments)["city"] in CITIES
    told = [{"type": "function_call_output", "call_id": call.call_id, "output": "Heavy snow"}]
    last = client.responses.create(
        model=server.model,
        previous_response_id=asked.id,
        input=told,
        tools=[tool],
        max_output_tokens=30,
        temperature=0,
    )
    assert "snow" in last.output_text.lower()


def responses_streamed(server: Server) -> None:
    with _client(server).responses.stream(
        model=server.model, input=FRANCE, max_output_tokens=100, temperature=0
    ) as events:
        seen = list(events)
        whole = events.get_final_response()
    text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
    assert text == whole.output_text
    assert "Paris" in text
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].type == "response.completed"


def errors(server: Server) -> None:
    import openai

    client = _client(server)
    for wrong, kind in (
        ({"temperature": "warm"}, "BadRequestError"),
        ({"messages": []}, "BadRequestError"),
        ({"tools": [{"type": "web_search"}]}, "BadRequestError"),
    ):
        refused: Any = None
        try:
            client.chat.completions.create(**{"model": server.model, "messages": MESSAGES, **wrong})
        except openai.APIStatusError as error:
            refused = error
        assert type(refused).__name__ == kind
        assert refused.body["message"]


def embeddings(server: Server) -> None:
    create = _client(server).embeddings.create
    packed = create(model=EMBEDDER, input=TEXTS)  # the package asks for base64 by itself
    check_vectors([entry.embedding for entry in packed.data])
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 2 * len(TEXTS)
    plain = create(model=EMBEDDER, input=TEXTS, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding, strict=True))


CHECKS: dict[str, Check] = {
    "chat": chat,
    "stream": stream,
    "structured output": parse,
    "tools": tools,
    "tools, streamed": tools_streamed,
    "completions": completions,
    "embeddings": embeddings,
    "responses": responses,
    "responses, streamed": responses_streamed,
    "errors": errors,
}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
