"""What a client of one engine sees, with the built-in model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.inference.answers import Delta, Sink, Stop
from tests.asking import asking

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[..., Awaitable[Any]]
Start = Callable[..., Awaitable[Engine]]
QUESTION = "What is Q4_K_M?"
ENDLESS = {"5": -100.0, "2": -100.0, "3": -100.0}  # the tokens that end an answer


async def test_an_answer_streams_and_ends_by_itself(engine: Engine, ask: Ask) -> None:
    heard = await ask(engine, QUESTION)
    finished = await heard.end
    assert "Q4_K_M" in heard.text
    assert len(heard.texts) > 3
    assert finished.reason == "stop"
    assert finished.usage.prompt_tokens == heard.prompt_tokens > 5
    assert finished.usage.completion_tokens >= len(heard.texts)
    assert finished.timings.tokens_per_s > 0
    assert "<|im_end|>" not in heard.text


async def test_two_answers_run_at_once(engine: Engine) -> None:
    # Long ones: sixty tokens take thirty milliseconds, and a busy machine may hand in the second question later.
    requests = [
        asking(f"at-once-{n}", prompt="a", max_tokens=600, sampling={"seed": n, "logit_bias": ENDLESS})
        for n in (0, 1)
    ]
    seen: list[int] = []
    done = [asyncio.get_running_loop().create_future() for _ in requests]

    def sink(number: int) -> Sink:
        def take(piece: Delta | Stop) -> None:
            if isinstance(piece, Stop):
                done[number].set_result(piece)
            else:
                seen.append(number)

        return take

    await asyncio.gather(*(engine.submit(request, sink(n)) for n, request in enumerate(requests)))
    await asyncio.gather(*done)
    switches = sum(a != b for a, b in pairwise(seen))
    assert switches > 10  # a step may bring an answer several tokens, where they were guessed


async def test_greedy_says_the_same_alone_and_among_others(engine: Engine, ask: Ask, answer: Ask) -> None:
    alone, _ = await answer(engine, QUESTION)
    others = [await ask(engine, f"How do I do number {n}?", sampling={"seed": n}) for n in range(3)]
    among, _ = await answer(engine, QUESTION)
    await asyncio.gather(*(other.end for other in others))
    assert among == alone


async def test_a_seed_makes_an_answer_repeatable(engine: Engine, answer: Ask) -> None:
    sampling = {"temperature": 1.5, "top_k": 0, "min_p": 0.0, "top_p": 1.0, "seed": 11}
    # The last bits of a logit depend on how many tokens were evaluated together: begin from the same cache.
    await answer(engine, QUESTION, max_tokens=1)
    first, _ = await answer(engine, QUESTION, sampling=sampling, max_tokens=40)
    again, _ = await answer(engine, QUESTION, sampling=sampling, max_tokens=40)
    other, _ = await answer(engine, QUESTION, sampling={**sampling, "seed": 12}, max_tokens=40)
    assert first == again
    assert first != other


@pytest.mark.parametrize("size", [1, 7, 40])
async def test_max_tokens_ends_with_length(engine: Engine, answer: Ask, size: int) -> None:
    _, finished = await answer(engine, QUESTION, max_tokens=size, sampling={"seed": 3, "logit_bias": ENDLESS})
    assert (finished.reason, finished.usage.completion_tokens) == ("length", size)


async def test_the_full_context_ends_with_length(start: Start, answer: Ask) -> None:
    engine = await start(context_length=200)
    _, finished = await answer(engine, QUESTION, sampling={"seed": 3, "logit_bias": ENDLESS})
    assert finished.reason == "length"
    assert (
        finished.usage.prompt_tokens + finished.usage.completion_tokens == engine.facts.context_length == 200
    )


async def test_a_prompt_larger_than_the_context_is_refused_with_counts(engine: Engine, ask: Ask) -> None:
    with pytest.raises(SlmDeskError) as caught:
        await ask(engine, "many words " * 3000)
    assert caught.value.code == "context_exceeded"
    assert str(engine.facts.context_length) in caught.value.message
    assert engine.running == 0


async def test_a_stop_string_across_tokens_is_cut_out(engine: Engine, answer: Ask) -> None:
    whole, _ = await answer(engine, QUESTION)
    middle = len(whole) // 2
    stop = whole[middle : middle + 9]
    text, finished = await answer(engine, QUESTION, stop=["never in there", stop])
    assert finished.reason == "stop"
    assert text == whole[: whole.index(stop)]


async def test_a_stop_string_that_never_comes_takes_nothing_away(engine: Engine, answer: Ask) -> None:
    whole, _ = await answer(engine, QUESTION)
    text, _ = await answer(engine, QUESTION, stop=[whole[-3:] + "and more"])
    assert text == whole


async def test_characters_of_several_tokens_come_out_whole(engine: Engine, ask: Ask) -> None:
    grammar = 'root ::= "日本 🦙 Grüße"'
    heard = await ask(engine, "Say it", sampling={"temperature": 0.0, "grammar": grammar}, max_tokens=60)
    finished = await heard.end
    assert heard.text == "日本 🦙 Grüße"
    assert finished.reason == "stop"
    assert not any("\ufffd" in text for text in heard.texts)


async def test_a_grammar_binds_the_answer(engine: Engine, answer: Ask) -> None:
    for sampling in (
        {"temperature": 0.0},
        {"temperature": 1.2, "seed": 5},
        {"seed": 5, "repeat_penalty": 1.3},
    ):
        text, finished = await answer(
            engine, "Yes or no?", sampling={**sampling, "grammar": 'root ::= "yes" | "no"'}
        )
        assert text in {"yes", "no"}
        assert finished.reason == "stop"


async def test_a_json_schema_binds_the_answer(engine: Engine, answer: Ask) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"type": "integer"}, "good": {"type": "boolean"}},
        "required": ["size", "good"],
        "additionalProperties": False,
    }
    text, finished = await answer(
        engine, "Say JSON", sampling={"temperature": 0.0, "json_schema": schema}, max_tokens=200
    )
    if finished.reason == "stop":
        assert set(json.loads(text)) == {"size", "good"}
    else:
        assert text.lstrip().startswith("{")


@pytest.mark.parametrize(
    ("sampling", "code"),
    [
        ({"grammar": "root ::= ("}, "grammar_invalid"),
        ({"grammar": "root ::= missing"}, "grammar_invalid"),
        ({"grammar": "root ::= root 'a'"}, "grammar_invalid"),
        ({"grammar": "(" * 5000}, "grammar_invalid"),
        ({"grammar": 7}, "bad_request"),
        ({"json_schema": {"$ref": "#/nowhere"}}, "schema_invalid"),
        ({"temperature": -1}, "bad_request"),
        ({"temperature": "hot"}, "bad_request"),
        ({"top_k": 1.5}, "bad_request"),
        ({"logit_bias": {"99999999": 1}}, "bad_request"),
        ({"logit_bias": {"5": "much"}}, "bad_request"),
        ({"repeat_penalty": 0}, "bad_request"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(
    engine: Engine, ask: Ask, answer: Ask, sampling: dict[str, Any], code: str
) -> None:
    with pytest.raises(SlmDeskError) as caught:
        await ask(engine, "Hello", sampling=sampling)
    assert caught.value.code == code
    assert caught.value.hint
    text, _ = await answer(engine, "Hello")
    assert text


async def test_a_grammar_error_tells_the_parsers_reason(engine: Engine, ask: Ask) -> None:
    with pytest.raises(SlmDeskError, match="missing"):
        await ask(engine, "Hello", sampling={"grammar": "root ::= missing"})


async def test_logit_bias_forbids_and_forces(engine: Engine, answer: Ask) -> None:
    free, _ = await answer(engine, QUESTION, max_tokens=1)
    token = None
    for candidate in range(260, engine.facts.vocabulary):
        text, _ = await answer(
            engine,
            QUESTION,
            max_tokens=1,
            sampling={"temperature": 0.0, "logit_bias": {str(candidate): 100.0}},
        )
        if text and text != free:
            token = candidate
            break
    assert token is not None
    forced, _ = await answer(
        engine, QUESTION, max_tokens=5, sampling={"seed": 1, "logit_bias": {str(token): 100.0}}
    )
    assert forced == text * 5
    forbidden, _ = await answer(
        engine, QUESTION, max_tokens=30, sampling={"seed": 1, "logit_bias": {str(token): -100.0}}
    )
    assert forbidden


async def test_penalties_change_what_is_said(engine: Engine, answer: Ask) -> None:
    plain, _ = await answer(
        engine, QUESTION, max_tokens=80, sampling={"temperature": 0.0, "logit_bias": ENDLESS}
    )
    sampling = {"temperature": 0.0, "logit_bias": ENDLESS, "repeat_penalty": 1.5, "frequency_penalty": 1.0}
    varied, _ = await answer(engine, QUESTION, max_tokens=80, sampling=sampling)
    assert len(set(varied.split())) > len(set(plain.split()))


async def test_more_requests_than_places_all_finish(engine: Engine, ask: Ask) -> None:
    heard = [await ask(engine, f"Question number {n}?", max_tokens=20) for n in range(13)]
    ends = await asyncio.gather(*(one.end for one in heard))
    assert all(end.reason in {"stop", "length"} for end in ends)
    assert max(end.timings.queue_s for end in ends) > min(end.timings.queue_s for end in ends)


async def test_cancel_in_mid_answer_frees_the_place(engine: Engine, ask: Ask, answer: Ask) -> None:
    endless = {"seed": 2, "logit_bias": ENDLESS}
    heard = [await ask(engine, f"Go on {n}", sampling=endless) for n in range(engine.facts.parallel)]
    for one in heard:
        await one.until(lambda h: len(h.texts) >= 3)
        await engine.cancel(one.id)
    ends = await asyncio.gather(*(one.end for one in heard))
    assert {end.reason for end in ends} == {"cancelled"}
    assert all(end.usage.completion_tokens < 1000 for end in ends)
    _, finished = await answer(engine, QUESTION)
    assert finished.reason == "stop"


async def test_closing_the_iterator_cancels(engine: Engine) -> None:
    request = asking("closed", prompt="On and on", sampling={"seed": 2, "logit_bias": ENDLESS})
    async with aclosing(engine.ask(request)) as parts:
        async for part in parts:
            assert isinstance(part, str)
            break
    for _ in range(500):
        if engine.running == 0:
            break
        await asyncio.sleep(0.01)
    assert engine.running == 0


async def test_giving_up_before_the_engine_replied_leaves_nothing_running(engine: Engine) -> None:
    request = asking("gone", prompt="On and on", sampling={"seed": 2, "logit_bias": ENDLESS})
    for delay in (0.0, 0.0005, 0.001, 0.002, 0.004):
        task = asyncio.create_task(engine.submit(request, lambda _piece: None))
        await asyncio.sleep(delay)
        task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(done[0], BaseException):
            await engine.cancel("gone")
        for _ in range(500):
            if engine.running == 0 and await engine.idle():
                break
            await asyncio.sleep(0.01)
        assert engine.running == 0
        assert await engine.idle()


async def test_the_iterator_ends_with_finished(engine: Engine) -> None:
    parts = [
        part
        async for part in engine.ask(
            asking(
                "iterated", messages=[{"role": "user", "content": QUESTION}], sampling={"temperature": 0.0}
            )
        )
    ]
    assert isinstance(parts[-1], Stop)
    assert all(isinstance(part, str) for part in parts[:-1])
    assert "Q4_K_M" in "".join(str(part) for part in parts[:-1])


async def test_an_id_that_is_running_is_refused(engine: Engine, ask: Ask) -> None:
    heard = await ask(engine, "Go on", sampling={"seed": 2, "logit_bias": ENDLESS})
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(asking(heard.id, prompt="a"), heard.sink)
    assert caught.value.code == "duplicate"
    await engine.cancel(heard.id)
    assert (await heard.end).reason == "cancelled"


async def test_a_last_message_of_the_assistant_is_continued(engine: Engine, answer: Ask) -> None:
    whole, _ = await answer(engine, QUESTION)
    begun = whole[: len(whole) // 3].rstrip()
    rest, _ = await answer(
        engine,
        [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": begun}],
        max_tokens=60,
    )
    assert (begun + rest)[: len(begun) + 10] == whole[: len(begun) + 10]


async def test_control_tokens_in_a_message_stay_text(engine: Engine) -> None:
    plain = await engine.count(asking(messages=[{"role": "user", "content": "Hello"}]))
    spelled = await engine.count(asking(messages=[{"role": "user", "content": "Hello<|im_end|>"}]))
    raw = await engine.count(asking(prompt="Hello"))
    raw_spelled = await engine.count(asking(prompt="Hello<|im_end|>"))
    assert raw_spelled == raw + 1
    assert spelled > plain + 3


async def test_parts_of_text_are_joined_and_images_refused(engine: Engine) -> None:
    one = await engine.count(asking(messages=[{"role": "user", "content": "Hello there"}]))
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]
    assert await engine.count(asking(messages=[{"role": "user", "content": parts}])) == one
    with pytest.raises(SlmDeskError, match="text only"):
        await engine.count(asking(messages=[{"role": "user", "content": [{"type": "image_url"}]}]))
