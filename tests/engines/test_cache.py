"""The KV cache: what a next turn finds in it, and what happens when it is full."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from slmdesk.engines.host import LlamaEngine as Engine

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[..., Awaitable[Any]]
StartEngine = Callable[..., Awaitable[Engine]]
FIRST = "What is a quant?"
SECOND = "Which one should I choose?"


async def test_the_next_turn_finds_the_conversation_in_the_cache(
    engine: Engine, start: StartEngine, answer: Ask
) -> None:
    first, end = await answer(engine, FIRST, conversation="c1")
    turns = [
        {"role": "user", "content": FIRST},
        {"role": "assistant", "content": first},
        {"role": "user", "content": SECOND},
    ]
    second, finished = await answer(engine, turns, conversation="c1")
    assert finished.usage.cached_tokens >= end.usage.prompt_tokens + end.usage.completion_tokens - 2
    fresh = await start(parallel=1)
    uncached, alone = await answer(fresh, turns)
    assert alone.usage.cached_tokens == 0
    assert second == uncached


async def test_a_prompt_heard_before_is_not_evaluated_again(engine: Engine, answer: Ask) -> None:
    question = "Tell me about memory, please."
    once, _ = await answer(engine, question)
    again, finished = await answer(engine, question)
    assert finished.usage.cached_tokens == finished.usage.prompt_tokens - 1
    assert again == once


async def test_a_long_shared_beginning_is_copied_from_a_conversation_in_use(
    start: StartEngine, ask: Ask
) -> None:
    engine = await start(parallel=2)
    system = {"role": "system", "content": "You are patient and precise. " * 20}
    talk = [await ask(engine, [system, {"role": "user", "content": "Hello"}], sampling=_endless(1))]
    await talk[0].until(lambda heard: heard.texts)
    talk.append(await ask(engine, [system, {"role": "user", "content": "And you?"}], sampling=_endless(2)))
    await talk[1].until(lambda heard: len(heard.texts) > 5)
    for heard in talk:
        await engine.cancel(heard.id)
    first, second = [await heard.end for heard in talk]
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens > 100


async def test_a_copied_beginning_gives_the_same_answer(start: StartEngine, ask: Ask, answer: Ask) -> None:
    engine = await start(parallel=2)
    system = {"role": "system", "content": "You are patient and precise. " * 20}
    question = [system, {"role": "user", "content": FIRST}]
    alone, _ = await answer(engine, question)
    await answer(engine, "Something else. " * 30, conversation="x", max_tokens=30)
    busy = await ask(engine, [system, {"role": "user", "content": "Hello"}], sampling=_endless(1))
    await busy.until(lambda heard: heard.texts)
    copied, finished = await answer(engine, question)
    await engine.cancel(busy.id)
    await busy.end
    assert finished.usage.cached_tokens > 100
    assert copied == alone


async def test_when_cells_run_out_answers_wait_their_turn_and_none_is_lost(
    start: StartEngine, ask: Ask, answer: Ask
) -> None:
    """Four answers share one context until it cannot hold them together: some are set back and go on later."""
    engine = await start(parallel=4, context_length=256)
    assert engine.facts.cache_cells == 256
    heard = [await ask(engine, f"{FIRST} {n}", sampling=_endless(n), max_tokens=200) for n in range(4)]
    ends = await asyncio.gather(*(one.end for one in heard))
    assert [(end.reason, end.usage.completion_tokens) for end in ends] == [("length", 200)] * 4
    assert all(one.text for one in heard)
    _, finished = await answer(engine, FIRST)
    assert finished.reason == "stop"


async def test_an_answer_that_was_set_back_reads_as_if_it_had_not_been(start: StartEngine, ask: Ask) -> None:
    roomy = await start(parallel=2, context_length=256, cache_cells=1024)
    tight = await start(parallel=2, context_length=256, cache_cells=256)
    texts = []
    for engine in (roomy, tight):
        heard = [await ask(engine, f"{FIRST} {n}", sampling=_endless(None), max_tokens=180) for n in range(2)]
        await asyncio.gather(*(one.end for one in heard))
        texts.append([one.text[:300] for one in heard])
    assert texts[0] == texts[1]


async def test_a_conversation_that_had_to_leave_the_cache_is_not_evaluated_again(
    start: StartEngine, answer: Ask
) -> None:
    engine = await start(parallel=1, context_length=1024, cache_cells=1024)
    long = "A model is a file of numbers. " * 60
    first, begun = await answer(engine, long, conversation="a", max_tokens=30)
    turns = [
        {"role": "user", "content": long},
        {"role": "assistant", "content": first},
        {"role": "user", "content": FIRST},
    ]
    assert begun.usage.prompt_tokens > 400
    for number in range(3):
        await answer(engine, f"{number} other words " * 150, conversation=f"b{number}", max_tokens=5)
    second, finished = await answer(engine, turns, conversation="a", max_tokens=60)
    assert finished.usage.cached_tokens >= begun.usage.prompt_tokens
    fresh = await start(parallel=1, context_length=1024)
    uncached, _ = await answer(fresh, turns, max_tokens=60)
    assert second == uncached


async def test_conversations_put_aside_stay_within_their_memory(start: StartEngine, answer: Ask) -> None:
    room = 6_000_000  # bytes; a conversation of these takes two million
    engine = await start(parallel=4, context_length=1024, cache_cells=1024, prefix_bytes=room)
    assert engine.facts.prefix_bytes == room

    async def client(number: int) -> None:
        for turn in range(2):
            await answer(
                engine, f"{number} {turn} counts up. " * 90, conversation=f"{number}/{turn}", max_tokens=2
            )

    await asyncio.gather(*map(client, range(8)))
    _, finished = await answer(engine, f"{FIRST} Once more.")
    assert finished.usage.completion_tokens > 0
    assert room / 3 < engine.prefix_peak <= room
    assert engine.prefix_bytes <= room
    none = await start(parallel=1, context_length=1024, cache_cells=1024, prefix_bytes=0)
    for number in range(3):
        await answer(none, f"{number} other words " * 150, conversation=f"b{number}", max_tokens=2)
    assert (none.facts.prefix_bytes, none.prefix_peak) == (0, 0)


async def test_idle_conversations_make_room(start: StartEngine, answer: Ask) -> None:
    engine = await start(parallel=1, context_length=512, cache_cells=512)
    for number in range(6):
        _, finished = await answer(engine, f"{number} counts. " * 40, max_tokens=40, conversation=str(number))
        assert finished.reason in {"stop", "length"}
        assert finished.usage.completion_tokens > 0


async def test_cancel_breaks_off_a_long_prompt(start: StartEngine, slow: Path, ask: Ask, answer: Ask) -> None:
    engine = await start(slow, parallel=2, context_length=8192)
    heard = await ask(engine, "", prompt="lorem ipsum dolor sit amet " * 500)
    assert heard.prompt_tokens > 4000
    await asyncio.sleep(0.3)
    await engine.cancel(heard.id)
    finished = await heard.end
    assert finished.reason == "cancelled"
    assert finished.timings.first_token_s == 0.0
    assert heard.text == ""
    _, after = await answer(engine, "", prompt="a", max_tokens=3)
    assert (after.reason, after.usage.completion_tokens) == ("length", 3)


async def test_a_long_prompt_does_not_hold_up_a_running_answer(
    start: StartEngine, slow: Path, ask: Ask
) -> None:
    engine = await start(slow, parallel=2, context_length=8192)
    running = await ask(engine, "", prompt="a", sampling={"seed": 1})
    await running.until(lambda heard: len(heard.texts) > 20)
    long = await ask(engine, "", prompt="lorem ipsum dolor sit amet " * 60, max_tokens=1)
    before = len(running.texts)
    await long.end
    assert len(running.texts) - before > 4  # held up, it would get one or two
    await engine.cancel(running.id)
    await running.end


async def test_a_short_prompt_overtakes_a_long_one(start: StartEngine, slow: Path, ask: Ask) -> None:
    engine = await start(slow, parallel=2, context_length=8192)
    long = await ask(engine, "", prompt="lorem ipsum dolor sit amet " * 400, max_tokens=1)
    short = await ask(engine, "", prompt="b", max_tokens=3)
    done, _ = await asyncio.wait({long.end, short.end}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {short.end}
    await engine.cancel(long.id)
    await long.end


def _endless(seed: int | None) -> dict[str, Any]:
    """Sampling that never ends an answer; greedy without a seed."""
    bias = {"5": -100.0, "2": -100.0, "3": -100.0}
    return {"temperature": 0.0, "logit_bias": bias} if seed is None else {"seed": seed, "logit_bias": bias}
