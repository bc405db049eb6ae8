"""LangChain's `ChatOpenAI`."""

from __future__ import annotations

from typing import Any, Literal

from tests.clients.common import EMBEDDER, FRANCE, KEY, QUESTION, TEXTS, TOOL, Check, Server, check_vectors


def _model(server: Server) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(base_url=server.v1, api_key=KEY, model=server.model, max_tokens=80, temperature=0)  # type: ignore[call-arg, arg-type, unused-ignore]


def chat(server: Server) -> None:
    assert "Paris" in _model(server).invoke(FRANCE).content


def stream(server: Server) -> None:
    assert "Paris" in "".join(chunk.content for chunk in _model(server).stream(FRANCE))


def tools(server: Server) -> None:
    answer = _model(server).bind_tools([TOOL], tool_choice="get_weather").invoke(QUESTION)
    assert answer.tool_calls[0]["args"] == {"city": "Paris"}


def structured(server: Server) -> None:
    from pydantic import BaseModel

    class City(BaseModel):
        """A city."""

        name: Literal["Oslo", "Paris"]

    for method in ("json_schema", "function_calling"):
        found = _model(server).with_structured_output(City, method=method).invoke(QUESTION)
        assert isinstance(found, City)


def embeddings(server: Server) -> None:
    from langchain_openai import OpenAIEmbeddings

    # Without its own count of tokens, which is that of OpenAI's models.
    model = OpenAIEmbeddings(
        model=EMBEDDER, base_url=server.v1, api_key=KEY, check_embedding_ctx_length=False
    )
    check_vectors(model.embed_documents(TEXTS))


CHECKS: dict[str, Check] = {
    "chat": chat,
    "stream": stream,
    "tools": tools,
    "structured output": structured,
    "embeddings": embeddings,
}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
