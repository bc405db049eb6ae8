"""Greedy answers of real models are llama.cpp's own, token by token; so are the tokens of their prompts."""

from __future__ import annotations

import codecs
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from slmdesk.engines.host import Engine
from slmdesk.engines.protocol import Finished
from tests.serving.conftest import serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

Answer = Callable[..., Awaitable[tuple[str, Finished]]]
Ask = Callable[..., Awaitable[Any]]
Start = Callable[..., Awaitable[Engine]]
Messages = list[dict[str, str]]

TOKENS = 64
REFERENCE = Path(__file__).with_name("reference.py")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


CHATS: list[Messages] = [
    [user("What is the capital of France?")],
    [{"role": "system", "content": "You answer in one short sentence."}, user("Why is the sky blue?")],
    [
        user("My name is Ada."),
        {"role": "assistant", "content": "Hello Ada, nice to meet you."},
        user("Write a small poem about me."),
    ],
    [user("Write a Python function that reverses a list.\n\n```python\n")],
    [user("  Schreibe drei Wörter auf Deutsch: Grüße, 日本, 🦙  ")],
]


def dialogue(messages: Messages) -> str:
    """The form of a base model, written out."""
    turns = {"system": "", "user": "User: ", "assistant": "Assistant: "}
    return "".join(f"{turns[m['role']]}{m['content']}\n\n" for m in messages) + "Assistant:"


def reference(model: Path, chats: list[Any], tokens: int = TOKENS) -> list[dict[str, Any]]:
    """What llama.cpp says, from a process of its own."""
    spec = json.dumps({"model": str(model), "chats": chats, "tokens": tokens})
    done = subprocess.run(
        [sys.executable, str(REFERENCE)], input=spec, capture_output=True, text=True, check=True, timeout=600
    )
    results = json.loads(done.stdout)
    assert isinstance(results, list)
    return results


def up_to(text: str, stop: str) -> str:
    """Without what a stop text begins, and without the space behind "Assistant:"."""
    return text.partition(stop)[0].removeprefix(" ") if stop else text


async def same(engine: Engine, ask: Ask, model: Path, chats: list[Messages], tokens: int) -> None:
    for chat, wanted in zip(chats, reference(model, chats, tokens), strict=True):
        heard = await ask(engine, chat, max_tokens=tokens)
        finished = await heard.end
        assert heard.prompt_tokens == len(wanted["prompt_tokens"]), wanted["prompt"]
        assert heard.text == wanted["text"]
        assert finished.completion_tokens == len(wanted["tokens"])
        assert heard.texts == token_by_token(wanted["pieces"])


def token_by_token(pieces: list[str]) -> list[str]:
    """What each token adds to the text: whole characters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    added = [decoder.decode(piece.encode("utf-8", "surrogateescape")) for piece in pieces]
    return [text for text in added if text]


async def test_the_starter_says_what_llama_cpp_says(start: Start, ask: Ask, smollm2: Path) -> None:
    engine = await start(smollm2, context_length=2048)
    await same(engine, ask, smollm2, CHATS[:2], 16)


@pytest.mark.slow
async def test_long_answers_of_the_starter(start: Start, ask: Ask, smollm2: Path) -> None:
    engine = await start(smollm2, context_length=2048)
    await same(engine, ask, smollm2, CHATS, TOKENS)


@pytest.mark.slow
async def test_a_base_model_without_a_template(start: Start, ask: Ask, gemma: Path) -> None:
    """In the form that stands in for a template, up to where it would invent the next question."""
    engine = await start(gemma, context_length=2048)
    assert (engine.ready.has_chat_template, engine.ready.chat_form) == (False, "plain dialogue")
    stopped = 0
    for chat, wanted in zip(CHATS, reference(gemma, [dialogue(chat) for chat in CHATS]), strict=True):
        heard = await ask(engine, chat, max_tokens=TOKENS)
        finished = await heard.end
        assert heard.prompt_tokens == len(wanted["prompt_tokens"]), wanted["prompt"]
        assert heard.text == up_to(wanted["text"], "\n\nUser:")
        assert "User:" not in heard.text
        stopped += finished.reason == "stop"
    assert stopped


@pytest.mark.slow
async def test_raw_prompts_of_gemma(start: Start, answer: Answer, gemma: Path) -> None:
    engine = await start(gemma, context_length=2048)
    prompts = [
        "The capital of France is",
        "def reverse(items):\n",
        "Es war einmal ",
        "1, 2, 3, 4,",
        "日本の首都は",
    ]
    for prompt, wanted in zip(prompts, reference(gemma, prompts), strict=True):
        text, finished = await answer(engine, "", prompt=prompt, max_tokens=TOKENS)
        assert (text, finished.completion_tokens) == (wanted["text"], len(wanted["tokens"]))
        assert finished.prompt_tokens == len(wanted["prompt_tokens"])


@pytest.mark.slow
async def test_the_service_says_it_too(smollm2: Path, gemma: Path, home: Path) -> None:
    models = {
        smollm2: (CHATS, ""),
        gemma: ([dialogue(chat) for chat in CHATS], "\n\nUser:"),
    }
    with serve(home, "--model", str(smollm2), "--model", str(gemma)) as service:
        for model, (chats, stop) in models.items():
            for chat, wanted in zip(CHATS, reference(model, chats), strict=True):
                told = service.chat(model=str(model), messages=chat, max_tokens=TOKENS).json
                assert told["choices"][0]["message"]["content"] == up_to(wanted["text"], stop)
                assert told["usage"]["prompt_tokens"] == len(wanted["prompt_tokens"])
