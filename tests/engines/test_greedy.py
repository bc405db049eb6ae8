"""Greedy answers of real models are llama.cpp's own, token by token; so are the tokens of their prompts."""

from __future__ import annotations

import codecs
import functools
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.inference.answers import Stop
from tests.serving.conftest import serve

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

Answer = Callable[..., Awaitable[tuple[str, Stop]]]
Ask = Callable[..., Awaitable[Any]]
Start = Callable[..., Awaitable[Engine]]
Messages = list[dict[str, str]]

TOKENS = 64
TIE = 0.2  # logits; below it, rounding decides, and that depends on what else the cache holds
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


# Latin, Cyrillic, Arabic, Devanagari, Han and Hangul.
SCRIPTS = [
    "What is the capital of France?",
    "Name three colours.",
    "Qual è la capitale d'Italia?",
    "Wie heißt du?",
    "Какая столица России?",
    "Назови три цвета.",
    "Напиши одно предложение о море.",
    "ما هي عاصمة مصر؟",
    "اذكر ثلاثة ألوان.",
    "كم عدد أيام الأسبوع؟",
    "भारत की राजधानी क्या है?",
    "तीन रंगों के नाम बताओ।",
    "नमस्ते, आप कैसे हैं?",
    "中国的首都是哪里？",
    "请说出三种颜色。",
    "你好吗？",
    "一周有几天？",
    "한국의 수도는 어디입니까?",
    "색깔 세 가지를 말해 주세요.",
    "일주일은 며칠입니까?",
]

RAW = ["The capital of France is", "def reverse(items):\n", "Es war einmal ", "1, 2, 3, 4,", "日本の首都は"]


@functools.cache
def _reference(model: Path, chats: str, tokens: int) -> Any:
    spec = json.dumps({"model": str(model), "chats": json.loads(chats), "tokens": tokens})
    done = subprocess.run(
        [sys.executable, str(REFERENCE)], input=spec, capture_output=True, text=True, check=True, timeout=600
    )
    return json.loads(done.stdout)


def reference(model: Path, chats: list[Any], tokens: int = TOKENS) -> list[dict[str, Any]]:
    """What llama.cpp says, from a process of its own."""
    results = _reference(model, json.dumps(chats), tokens)
    assert isinstance(results, list)
    return results


def up_to(text: str, stop: str) -> str:
    """Without what a stop text begins, and without the space behind "Assistant:"."""
    return text.partition(stop)[0].removeprefix(" ") if stop else text


def certain(wanted: dict[str, Any]) -> str:
    """The text up to the first token that another one nearly outdoes."""
    count = next((n for n, lead in enumerate(wanted["leads"]) if lead < TIE), len(wanted["leads"]))
    data = "".join(wanted["pieces"][:count]).encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "ignore")


def token_by_token(pieces: list[str]) -> list[str]:
    """What each token adds to the text: whole characters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    added = [decoder.decode(piece.encode("utf-8", "surrogateescape")) for piece in pieces]
    return [text for text in added if text]


async def said(engine: Engine, ask: Ask, chat: Messages, wanted: dict[str, Any], tokens: int) -> None:
    heard = await ask(engine, chat, max_tokens=tokens)
    finished = await heard.end
    assert heard.prompt_tokens == len(wanted["prompt_tokens"]), wanted["prompt"]
    assert heard.text == wanted["text"]
    assert heard.texts == token_by_token(wanted["pieces"])
    assert finished.usage.completion_tokens == len(wanted["tokens"])


async def test_the_starter_says_what_llama_cpp_says(start: Start, ask: Ask, smollm2: Path) -> None:
    wanted = reference(smollm2, CHATS[:1], 16)
    await said(await start(smollm2, context_length=2048), ask, CHATS[0], wanted[0], 16)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CHATS)))
async def test_long_answers_of_the_starter(start: Start, ask: Ask, smollm2: Path, number: int) -> None:
    wanted = reference(smollm2, CHATS)
    engine = await start(smollm2, context_length=2048)
    await said(engine, ask, CHATS[number], wanted[number], TOKENS)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CHATS)))
async def test_a_base_model_without_a_template(start: Start, ask: Ask, gemma: Path, number: int) -> None:
    """In the form that stands in for a template, up to where it would invent the next question."""
    wanted = reference(gemma, [dialogue(chat) for chat in CHATS])[number]
    engine = await start(gemma, context_length=2048)
    assert (engine.facts.has_chat_template, engine.facts.chat_form) == (False, "plain dialogue")
    heard = await ask(engine, CHATS[number], max_tokens=TOKENS)
    finished = await heard.end
    assert heard.prompt_tokens == len(wanted["prompt_tokens"]), wanted["prompt"]
    assert heard.text == up_to(wanted["text"], "\n\nUser:")
    assert finished.reason == ("stop" if "\nUser:" in wanted["text"] else "length")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(RAW)))
async def test_raw_prompts_of_gemma(start: Start, answer: Answer, gemma: Path, number: int) -> None:
    wanted = reference(gemma, RAW)[number]
    engine = await start(gemma, context_length=2048)
    text, finished = await answer(engine, "", prompt=RAW[number], max_tokens=TOKENS)
    assert (text, finished.usage.completion_tokens) == (wanted["text"], len(wanted["tokens"]))
    assert finished.usage.prompt_tokens == len(wanted["prompt_tokens"])


@pytest.mark.slow
async def test_the_service_says_it_too(smollm2: Path, gemma: Path, home: Path) -> None:
    """With other conversations in the cache, so up to where two tokens are as good as each other."""
    models = {smollm2: (CHATS, ""), gemma: ([dialogue(chat) for chat in CHATS], "\n\nUser:")}
    with serve(home, "--model", str(smollm2), "--model", str(gemma)) as service:
        for model, (chats, stop) in models.items():
            compared = 0
            for chat, wanted in zip(CHATS, reference(model, chats), strict=True):
                told = service.chat(model=str(model), messages=chat, max_tokens=TOKENS).json
                sure = up_to(certain(wanted), stop)
                assert told["choices"][0]["message"]["content"].startswith(sure)
                assert told["usage"]["prompt_tokens"] == len(wanted["prompt_tokens"])
                compared += len(sure)
            assert compared > 100
            assert service.status(str(model))["chat_form"] == ("plain dialogue" if stop else "")


@pytest.mark.slow
async def test_the_service_says_what_llama_cpp_says_in_six_scripts(smollm2: Path, home: Path) -> None:
    """Token by token, as log probabilities tell them; up to where two tokens are as good as each other."""
    chats = [[user(text)] for text in SCRIPTS]
    compared = whole = 0
    with serve(home, "--model", str(smollm2), env={"SLMDESK_ENGINE_PARALLEL": "1"}) as service:
        for chat, wanted in zip(chats, reference(smollm2, chats, 16), strict=True):
            told = service.chat(model=str(smollm2), messages=chat, max_tokens=16, logprobs=True).json
            assert told["usage"]["prompt_tokens"] == len(wanted["prompt_tokens"]), wanted["prompt"]
            tokens = [bytes(one["bytes"]) for one in told["choices"][0]["logprobs"]["content"]]
            expected = [piece.encode("utf-8", "surrogateescape") for piece in wanted["pieces"]]
            sure = next((n for n, lead in enumerate(wanted["leads"]) if lead < TIE), len(expected))
            assert tokens[:sure] == expected[:sure], chat
            compared += sure
            whole += tokens == expected
    assert compared > 100
    assert whole > len(chats) // 2  # all of them on the processor this was written on
