"""What every engine keeps to, whichever runtime it is. See `slmdesk.inference.engines.Engine`."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing

import psutil
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import Stop
from slmdesk.inference.asks import (
    Ask,
    Grammar,
    JsonSchema,
    Media,
    Sampling,
    Text,
    Tool,
    Turn,
)
from slmdesk.inference.engines import Engine

from .conftest import Heard, Subject, question, raw, told

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

FRANCE = "What is the capital of France?"
LONG = "lorem ipsum dolor sit amet " * 400


async def quiet(engine: Engine) -> None:
    """Wait until nothing is answered or waited for any more."""
    while engine.running or not await engine.idle():
        await asyncio.sleep(0.01)


async def test_text_comes_first_and_one_end_last(engine: Engine) -> None:
    heard = Heard()
    prompt_tokens = await engine.submit(question(FRANCE, max_tokens=32), heard.sink)
    stop = await heard.ended()
    await quiet(engine)
    assert isinstance(heard.pieces[-1], Stop)
    assert [type(piece) for piece in heard.pieces[:-1]] == [str] * (len(heard.pieces) - 1)
    assert "Paris" in heard.text
    assert stop.reason in {"stop", "length"}
    assert stop.error is None
    assert stop.usage.prompt_tokens == prompt_tokens
    assert len(heard.pieces) - 1 <= stop.usage.completion_tokens <= 32
    assert stop.timings.first_token_s > 0
    assert stop.timings.tokens_per_s > 0


async def test_the_iterator_tells_the_same(engine: Engine) -> None:
    text, stop = await told(engine, question(FRANCE, max_tokens=16))
    async with aclosing(engine.ask(question(FRANCE, max_tokens=16))) as pieces:
        again = [piece async for piece in pieces]
    assert "".join(map(str, again[:-1])) == text
    assert isinstance(again[-1], Stop)
    assert again[-1].reason == stop.reason


async def test_what_is_counted_is_what_is_evaluated(engine: Engine) -> None:
    talk = (
        Turn.of("system", "Be brief."),
        Turn.of("user", FRANCE),
        Turn.of("assistant", "Paris."),
        Turn("user", (Text("And of "), Text("Spain?"))),
    )
    for ask in (question("", turns=talk, max_tokens=2), raw("Once upon a time", max_tokens=2)):
        counted = await engine.count(ask)
        heard = Heard()
        assert await engine.submit(ask, heard.sink) == counted > 3
        assert (await heard.ended()).usage.prompt_tokens == counted


async def test_the_facts_are_what_was_asked_for(engine: Engine) -> None:
    facts = engine.facts
    assert (facts.context_length, facts.parallel) == (2048, 4)
    assert facts.vocabulary > 1000
    assert facts.memory_bytes > 10_000_000
    assert engine.alive
    assert {"chat", "text"} <= engine.abilities


async def test_an_answer_that_is_cancelled_ends_as_such_and_frees_its_place(engine: Engine) -> None:
    asks = [raw("On and on", max_tokens=1500, sampling=Sampling(seed=n, temperature=1.0)) for n in range(4)]
    heard = [Heard() for _ in asks]
    for ask, ear in zip(asks, heard, strict=True):
        await engine.submit(ask, ear.sink)
    await heard[0].written(10)
    await engine.cancel(asks[0].id)
    stop = await heard[0].ended()
    assert stop.reason == "cancelled"
    assert heard[0].pieces[-1] is stop
    assert all(ear.stop is None or ear.stop.reason != "cancelled" for ear in heard[1:])
    for ask in asks[1:]:
        await engine.cancel(ask.id)
    await quiet(engine)
    assert "Paris" in (await told(engine, question(FRANCE, max_tokens=24)))[0]
    await engine.cancel("nobody")  # is no fault


async def test_a_long_prompt_is_broken_off(subject: Subject) -> None:
    engine = await subject.start(subject.slow, context_length=8192, parallel=1)
    try:
        began = time.perf_counter()
        _, whole = await told(engine, raw(LONG[:3000], max_tokens=1))
        took = time.perf_counter() - began
        assert whole.usage.prompt_tokens > 1000
        heard = Heard()
        ask = raw("other " + LONG[:3000], max_tokens=1)
        await engine.submit(ask, heard.sink)
        began = time.perf_counter()
        await engine.cancel(ask.id)
        stop = await heard.ended()
        assert (stop.reason, heard.text) == ("cancelled", "")
        # Not by the clock of this machine, but by what it takes for the whole of it.
        assert time.perf_counter() - began < took / 2
    finally:
        await engine.stop()


async def test_sixteen_at_once_say_what_each_says_alone(subject: Subject) -> None:
    engine = await subject.start(parallel=16, cache_cells=16 * 256)
    try:
        asks = [question(f"Name the number after {n}.", max_tokens=12) for n in range(16)]
        alone = [(await told(engine, question(a.turns[-1].text, max_tokens=12)))[1] for a in asks[:4]]
        ends = await asyncio.gather(*(told(engine, ask) for ask in asks))
        assert all(stop.reason in {"stop", "length"} and text for text, stop in ends)
        assert [stop.usage.completion_tokens for _, stop in ends[:4]] == [
            stop.usage.completion_tokens for stop in alone
        ]
        assert all(stop.usage.completion_tokens <= 12 for _, stop in ends)
        await quiet(engine)
    finally:
        await engine.stop()


async def test_more_than_fit_at_once_wait_and_none_is_lost(engine: Engine) -> None:
    ends = await asyncio.gather(*(told(engine, question(f"Count to {n}.", max_tokens=8)) for n in range(9)))
    assert all(stop.reason in {"stop", "length"} and text for text, stop in ends)


async def test_a_stop_string_ends_the_answer_and_is_no_part_of_it(engine: Engine) -> None:
    whole, _ = await told(engine, question(FRANCE, max_tokens=24))
    at = whole.index("Paris")
    text, stop = await told(engine, question(FRANCE, max_tokens=24, stop=("never there", "ris")))
    assert (text, stop.reason) == (whole[: at + 2], "stop")


async def test_characters_come_whole(engine: Engine) -> None:
    wanted = "🦙é中𝄞 ok"
    heard = Heard()
    ask = question("Write it.", shape=Grammar(f'root ::= "{wanted}"'), max_tokens=64)
    await engine.submit(ask, heard.sink)
    assert (await heard.ended()).reason == "stop"
    assert heard.text == wanted
    assert all("�" not in piece for piece in heard.pieces if isinstance(piece, str))


async def test_half_a_character_is_not_shown(engine: Engine) -> None:
    for tokens in range(1, 8):
        ask = question("Write it.", shape=Grammar('root ::= "🦙🦙🦙🦙🦙🦙"'), max_tokens=tokens)
        text, stop = await told(engine, ask)
        assert set(text) <= {"🦙"}
        assert stop.usage.completion_tokens <= tokens


async def test_a_grammar_is_obeyed_where_the_model_would_say_something_else(engine: Engine) -> None:
    text, stop = await told(
        engine, question(FRANCE, shape=Grammar('root ::= "zq" [0-9] [0-9] "!"'), max_tokens=32)
    )
    assert stop.reason == "stop"
    assert text[:2] + text[-1] == "zq!"
    assert text[2:-1].isdigit()
    free, _ = await told(engine, question(FRANCE, max_tokens=8))
    assert not free.startswith("zq")


async def test_a_schema_is_obeyed(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Lyon", "Nice"]}, "tall": {"type": "boolean"}},
        "required": ["city", "tall"],
        "additionalProperties": False,
    }
    text, stop = await told(engine, question(FRANCE, shape=JsonSchema(schema), max_tokens=64))
    assert stop.reason == "stop"
    found = json.loads(text)
    assert found["city"] in {"Lyon", "Nice"}
    assert isinstance(found["tall"], bool)


@pytest.mark.parametrize("shape", [Grammar("root ::= ("), JsonSchema({"$ref": "#/nowhere"})])
async def test_a_shape_that_makes_no_sense_is_refused(engine: Engine, shape: Grammar | JsonSchema) -> None:
    heard = Heard()
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(question(FRANCE, shape=shape), heard.sink)
    assert caught.value.code in {"grammar_invalid", "schema_invalid"}
    assert (heard.pieces, engine.running) == ([], 0)


async def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(engine: Engine) -> None:
    heard = Heard()
    ask = raw(LONG)
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(ask, heard.sink)
    assert caught.value.code == "context_exceeded"
    assert "2048" in caught.value.message
    assert str(await engine.count(ask)) in caught.value.message
    assert (heard.pieces, engine.running) == ([], 0)


async def test_an_answer_ends_where_the_context_does(subject: Subject) -> None:
    engine = await subject.start(context_length=128, parallel=1)
    try:
        _, stop = await told(
            engine, raw("a b c d", sampling=Sampling(temperature=0.0, logit_bias={"2": -100.0}))
        )
        assert stop.reason == "length"
        assert stop.usage.prompt_tokens + stop.usage.completion_tokens == 128
    finally:
        await engine.stop()


async def test_a_broken_template_is_said_to_chats_alone(subject: Subject) -> None:
    engine = await subject.start(subject.template_broken)
    try:
        with pytest.raises(SlmDeskError) as caught:
            await engine.submit(question(FRANCE), Heard().sink)
        assert caught.value.code == "template_invalid"
        assert caught.value.hint
        text, _ = await told(engine, raw("The capital of France is", max_tokens=8))
        assert text
    finally:
        await engine.stop()


async def test_closing_the_stream_ends_the_answer(engine: Engine) -> None:
    ask = raw("On and on", max_tokens=1500, sampling=Sampling(seed=1, temperature=1.0))
    async with aclosing(engine.ask(ask)) as pieces:
        async for _ in pieces:
            break
    await quiet(engine)


async def test_giving_up_before_it_is_taken_leaves_nothing_running(engine: Engine) -> None:
    for ask in (raw("On and on", max_tokens=1500) for _ in range(5)):
        task = asyncio.create_task(engine.submit(ask, Heard().sink))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await quiet(engine)


async def test_a_killed_engine_tells_everybody_once(subject: Subject) -> None:
    engine = await subject.start()
    asks = [raw("On and on", max_tokens=1500, sampling=Sampling(seed=n, temperature=1.0)) for n in range(2)]
    heard = [Heard() for _ in asks]
    for ask, ear in zip(asks, heard, strict=True):
        await engine.submit(ask, ear.sink)
    await heard[0].written(5)
    psutil.Process(engine.pid).kill()
    for ear in heard:
        stop = await ear.ended()
        assert stop.reason == "error"
        assert stop.error is not None
        assert ear.pieces[-1] is stop
    error = await engine.died
    assert error is not None
    assert error.hint
    assert not engine.alive
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(question(FRANCE), Heard().sink)
    assert caught.value.code == error.code
    await engine.stop()


async def test_stopping_cancels_what_runs(subject: Subject) -> None:
    engine = await subject.start()
    heard = Heard()
    await engine.submit(raw("On and on", max_tokens=1500), heard.sink)
    await engine.stop()
    assert (await heard.ended()).reason == "cancelled"
    assert await engine.died is None
    assert not psutil.pid_exists(engine.pid)


async def test_one_name_means_one_answer(engine: Engine) -> None:
    heard = Heard()
    ask = raw("On and on", max_tokens=1500)
    await engine.submit(ask, heard.sink)
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(ask, Heard().sink)
    assert caught.value.code == "duplicate"
    await engine.cancel(ask.id)
    await heard.ended()


@pytest.mark.parametrize(
    ("ask", "ability"),
    [
        (question(FRANCE, tools=(Tool("weather"),)), "tools"),
        (question(FRANCE, logprobs=2), "logprobs"),
        (question("", turns=(Turn("user", (Media("image", "image/png", b"x"),)),)), "image"),
    ],
)
async def test_what_it_cannot_do_is_refused_and_never_ignored(engine: Engine, ask: Ask, ability: str) -> None:
    if ability in engine.abilities:
        pytest.skip(f"this engine has the ability {ability}")
    heard = Heard()
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(ask, heard.sink)
    assert caught.value.code == "unsupported"
    assert caught.value.hint
    assert (heard.pieces, engine.running) == ([], 0)


@pytest.mark.parametrize(
    "ask",
    [
        Ask(id="n"),
        Ask(id="b", prompt="x", turns=(Turn.of("user", "y"),)),
        raw("x", max_tokens=-1),
        raw("x", sampling=Sampling(temperature=-1.0)),
        raw("x", sampling=Sampling(logit_bias={"99999999": 1.0})),
    ],
)
async def test_an_ask_that_makes_no_sense_is_refused(engine: Engine, ask: Ask) -> None:
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(ask, Heard().sink)
    assert caught.value.code == "bad_request"
    assert engine.running == 0
