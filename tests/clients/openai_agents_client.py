"""`openai-agents`, over chat completions and over responses."""

from __future__ import annotations

from typing import Any

from tests.clients.common import KEY, QUESTION, Check, Server


def _run(server: Server, kind: str) -> None:
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    seen: list[str] = []

    @agents.function_tool
    def get_weather(city: str) -> str:
        """Tells the weather in a city."""
        seen.append(city)
        return f"Heavy snow in {city}"

    client = AsyncOpenAI(base_url=server.v1, api_key=KEY)
    agent: Any = agents.Agent(
        name="weather",
        instructions="Be brief.",
        tools=[get_weather],
        model=getattr(agents, kind)(server.model, client),
        model_settings=agents.ModelSettings(tool_choice="required", max_tokens=80, temperature=0.0),
    )
    result = agents.Runner.run_sync(agent, QUESTION)
    assert len(seen) == 1
    assert result.final_output


def over_chat(server: Server) -> None:
    _run(server, "OpenAIChatCompletionsModel")


def over_responses(server: Server) -> None:
    _run(server, "OpenAIResponsesModel")


CHECKS: dict[str, Check] = {"tools": over_chat, "responses": over_responses}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
