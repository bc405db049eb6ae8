"""Which client does what: the table of README.md, made from the checks themselves."""

from __future__ import annotations

from tests.clients import (
    anthropic_python,
    instructor_client,
    langchain_client,
    litellm_client,
    llm_command,
    lm_eval_command,
    ollama_python,
    openai_agents_client,
    openai_python,
    pydantic_ai_client,
)
from tests.clients.common import Check

HERE: dict[str, dict[str, Check]] = {
    "openai (Python)": openai_python.CHECKS,
    "anthropic (Python)": anthropic_python.CHECKS,
    "ollama (Python)": ollama_python.CHECKS,
}
"""Clients that are tried in the tests' own environment."""

APART: dict[str, tuple[str, dict[str, Check]]] = {
    "LangChain": ("langchain_client", langchain_client.CHECKS),
    "instructor": ("instructor_client", instructor_client.CHECKS),
    "pydantic-ai": ("pydantic_ai_client", pydantic_ai_client.CHECKS),
    "openai-agents": ("openai_agents_client", openai_agents_client.CHECKS),
    "litellm": ("litellm_client", litellm_client.CHECKS),
    "llm": ("llm_command", llm_command.CHECKS),
    "lm-eval": ("lm_eval_command", lm_eval_command.CHECKS),
}
"""Clients with an environment of their own, and their modules."""

NODE: dict[str, tuple[str, tuple[str, ...]]] = {
    "openai (npm)": ("openai", ("chat", "stream", "tools", "responses")),
    "AI SDK (npm)": ("ai", ("chat", "stream", "tools", "structured output")),
}
"""Clients in `node/checks.mjs`."""

FEATURES = ("chat", "stream", "tools", "structured output", "completions", "responses", "embeddings")


def table() -> str:
    """The table in Markdown."""
    done = {name: set(checks) for name, checks in HERE.items()}
    done |= {name: set(checks) for name, (_, checks) in APART.items()}
    done |= {name: set(checks) for name, (_, checks) in NODE.items()}
    rows = [["client", *FEATURES], ["---", *[":-:"] * len(FEATURES)]]
    rows += [
        [name, *("✓" if feature in checks else "" for feature in FEATURES)] for name, checks in done.items()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())
