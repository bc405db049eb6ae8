"""`instructor`."""

from __future__ import annotations

from typing import Any, Literal

from tests.clients.common import KEY, MESSAGES, Check, Server


def _ask(server: Server, mode: str) -> None:
    import instructor
    from openai import OpenAI
    from pydantic import BaseModel

    class City(BaseModel):
        """A city."""

        name: Literal["Oslo", "Paris"]

    client: Any = instructor.from_openai(
        OpenAI(base_url=server.v1, api_key=KEY), mode=getattr(instructor.Mode, mode)
    )
    found = client.chat.completions.create(
        model=server.model, messages=MESSAGES, response_model=City, max_tokens=400, max_retries=0
    )
    assert isinstance(found, City)


def tools(server: Server) -> None:
    _ask(server, "TOOLS")


def structured(server: Server) -> None:
    _ask(server, "JSON_SCHEMA")


CHECKS: dict[str, Check] = {"tools": tools, "structured output": structured}

if __name__ == "__main__":
    from tests.clients.common import main

    main(CHECKS)
