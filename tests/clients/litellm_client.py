"""`litellm`."""

from __future__ import annotations

import os
from typing import Any

from tests.clients.common import EMBEDDER, FRANCE, KEY, MESSAGES, TEXTS, TOOL, Check, Server, check_vectors

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


def _ask(server: Server, **more: Any) -> Any:
    import litellm

    return litellm.completion(
        model=f"openai/{server.model}", api_base=server.v1, api_key=KEY, temperature=0, max_tokens=60, **more
    )


def chat(server: Server) -> None:
    answer = _ask(server, messages=[{"role": "user", "content": FRANCE}])
    assert "Paris" in answer.choices[0].message.content


def stream(server: Server) -> None:
    chunks = list(
        _ask(
            server,
            messages=[{"role": "user", "content": FRANCE}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.total_tokens > 0


def tools(server: Server) -> None:
    answer = _ask(server, messages=MESSAGES, tools=[TOOL], tool_choice="required")
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"


def embeddings(server: Server) -> None:
    import litellm

    answer = litellm.embedding(
        f"openai/{EMBEDDER}", input=TEXTS, api_base=server.v1, api_key=KEY, encoding_format="float"
    )
    check_vectors([entry["embedding"] for entry in answer.data])


CHECKS: dict[str, Check] = {"chat": chat, "stream": stream, "tools": tools, "embeddings": embeddings}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
