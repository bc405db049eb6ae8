"""What the checks ask about. Runs in the clients' own environment too, so it imports nothing of the program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Server:
    """Where the service is, and a model that chats."""

    url: str
    model: str

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"


Check = Callable[[Server], None]

KEY = "not-needed"
EMBEDDER = "acme/sentences"
"""An embedding model in the service's library."""
TEXTS = ["The cat sat on the mat.", "Paris is the capital of France."]
CITIES = ["Oslo", "Paris"]
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": CITIES}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": PARAMETERS,
    },
}
QUESTION = "What is the weather in Paris?"
FRANCE = "What is the capital of France? Answer in one sentence."
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


def check_vectors(rows: list[list[float]]) -> None:
    """Two different vectors of length 1."""
    first, second = rows
    assert len(first) == len(second) > 8
    assert all(abs(sum(number * number for number in row) - 1) < 1e-4 for row in rows)
    assert sum(a * b for a, b in zip(first, second, strict=True)) < 0.999


_opened: list[Any] = []


def opened(client: Any) -> Any:
    """The client, to be closed by `close_all`."""
    _opened.append(client)
    return client


def close_all() -> None:
    """Close the connections of every client made since."""
    while _opened:
        client = _opened.pop()
        (client if hasattr(client, "close") else client._client).close()


def main(checks: dict[str, Check]) -> None:
    """Run by `python -m` in the clients' environment: the service's address, a model, and which check."""
    url, model, name = sys.argv[1:4]
    checks[name](Server(url, model))
