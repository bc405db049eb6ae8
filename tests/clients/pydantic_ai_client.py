"""`pydantic-ai`."""

from __future__ import annotations

from typing import Any, Literal

from tests.clients.common import FRANCE, KEY, QUESTION, Check, Server


def _agent(server: Server, **more: Any) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=server.v1, api_key=KEY)
    settings = {"max_tokens": 80, "temperature": 0.0}
    return Agent(OpenAIChatModel(server.model, provider=provider), model_settings=settings, **more)


def chat(server: Server) -> None:
    assert "Paris" in _agent(server).run_sync(FRANCE).output


def structured(server: Server) -> None:
    from pydantic import BaseModel

    class City(BaseModel):
        name: Literal["Oslo", "Paris"]

    assert isinstance(_agent(server, output_type=City).run_sync(QUESTION).output, City)


CHECKS: dict[str, Check] = {"chat": chat, "structured output": structured}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
