"""What the toy models prove too little of, with two real ones: Llama shape with byte-level BPE and ChatML, and Gemma 3
with a sliding window and 262 000 tokens. Greedy, on questions whose answers the models are sure of."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.engines.host import start_engine
from slmdesk.library.shipped import STARTER_INSTRUCTIONS
from tests.asking import spec_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

Ask = Callable[..., Awaitable[Any]]
PASSAGE = (
    "Paris is the capital of France. Berlin is the capital of Germany. Rome is the capital of Italy. Madrid is the "
    "capital of Spain. Lisbon is the capital of Portugal. Vienna is the capital of Austria. "
)


@dataclass(frozen=True)
class Subject:
    """A running real model, and how it is asked: in its chat format, or with a text to go on with."""

    name: str
    path: Path
    engine: Engine
    chat: bool

    def asked(self, capital_of: str, before: str = PASSAGE) -> dict[str, Any]:
        """The keyword arguments of `ask` for one capital, behind a text that names some."""
        if not self.chat:
            return {"question": "", "prompt": f"{before}The capital of {capital_of} is"}
        system = {"role": "system", "content": f"{before}{STARTER_INSTRUCTIONS}"}
        return {"question": [system, {"role": "user", "content": f"What is the capital of {capital_of}?"}]}


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["smollm2", "gemma"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    path: Path = request.getfixturevalue(request.param)
    engine = await start_engine(
        spec_of(path, request.param, parallel=4, context_length=2048, cache_cells=6144, threads=2)
    )
    yield Subject(request.param, path, engine, chat=request.param == "smollm2")
    await engine.stop()


async def test_a_question_is_answered_right(subject: Subject, answer: Ask) -> None:
    text, finished = await answer(subject.engine, **subject.asked("France"), max_tokens=12)
    assert "Paris" in text
    assert finished.usage.completion_tokens > 0
    if subject.chat:
        assert finished.reason == "stop"
        assert "<|im_end|>" not in text


@pytest.mark.parametrize("subject", ["smollm2"], indirect=True)
async def test_the_publishers_template_is_followed(subject: Subject, ask: Ask) -> None:
    # 37 tokens: the template's own instructions, the question and the beginning of the answer, by llama_tokenize.
    heard = await ask(subject.engine, "What is the capital of France?", max_tokens=1)
    await heard.end
    assert heard.prompt_tokens == 37


async def test_four_at_once_say_what_each_says_alone(subject: Subject, ask: Ask, answer: Ask) -> None:
    countries = {"France": "Paris", "Italy": "Rome", "Germany": "Berlin", "Japan": "Tokyo"}
    alone = {
        country: (await answer(subject.engine, **subject.asked(country), max_tokens=6))[0]
        for country in countries
    }
    heard = {
        country: await ask(subject.engine, **subject.asked(country), max_tokens=6) for country in countries
    }
    await asyncio.gather(*(one.end for one in heard.values()))
    for country, capital in countries.items():
        assert capital in heard[country].text
        assert heard[country].text == alone[country]


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["gemma"], indirect=True)
async def test_the_cache_holds_more_than_the_window_sees(subject: Subject, answer: Ask) -> None:
    """Gemma's sliding window is 512 tokens: what lies behind it must come back for another end of the text."""
    long = PASSAGE * 20
    first, begun = await answer(
        subject.engine, **subject.asked("France", long), max_tokens=6, conversation="w"
    )
    assert begun.usage.prompt_tokens > 800
    assert "Paris" in first
    other, finished = await answer(
        subject.engine, **subject.asked("Spain", long), max_tokens=6, conversation="w"
    )
    assert "Madrid" in other
    again, end = await answer(subject.engine, **subject.asked("France", long), max_tokens=6, conversation="w")
    assert again == first
    assert finished.usage.prompt_tokens == begun.usage.prompt_tokens == end.usage.prompt_tokens
    assert (
        min(finished.usage.cached_tokens, end.usage.cached_tokens) > 800
    )  # and none of it is evaluated again


@pytest.mark.parametrize("subject", ["smollm2"], indirect=True)
async def test_the_next_turn_finds_the_conversation(subject: Subject, answer: Ask) -> None:
    turns: list[dict[str, Any]] = subject.asked("France", before="")["question"]
    first, begun = await answer(subject.engine, turns, conversation="t")
    turns = [
        *turns,
        {"role": "assistant", "content": first},
        {"role": "user", "content": "Why is the sky blue?"},
    ]
    second, finished = await answer(subject.engine, turns, conversation="t", max_tokens=24)
    assert finished.usage.cached_tokens >= begun.usage.prompt_tokens + begun.usage.completion_tokens - 2
    assert "scatter" in second.lower()


async def test_a_killed_engine_is_told_apart_from_a_bad_file(smollm2: Path, tmp_path: Path, ask: Ask) -> None:
    cut = tmp_path / "cut.gguf"
    shutil.copy(smollm2, cut)
    with cut.open("r+b") as file:
        file.truncate(40_000_000)
    with pytest.raises(SlmDeskError) as caught:
        await start_engine(spec_of(cut, "cut"))
    assert caught.value.code == "gguf_truncated"
    engine = await start_engine(spec_of(smollm2, "whole", parallel=1, context_length=1024))
    try:
        heard = await ask(engine, "Write a long story about the sea.", sampling={"seed": 1}, max_tokens=900)
        await heard.until(lambda one: len(one.texts) > 4)
        psutil.Process(engine.pid).kill()
        finished = await heard.end
        assert finished.reason == "error"
        assert finished.error is not None
        assert finished.error["code"] == ("engine_crashed" if sys.platform == "win32" else "engine_killed")
        assert heard.text
    finally:
        await engine.stop()
