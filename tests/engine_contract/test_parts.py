"""What an engine may be asked beyond text: tools, log probabilities, tokens, a context that is too small."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import psutil
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import Stop, TokenLogprobs
from slmdesk.inference.asks import (
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from slmdesk.inference.engines import Engine, EngineKinds
from slmdesk.inference.loading import Loading
from slmdesk.inference.vectors import EmbedAsk, RankAsk
from slmdesk.serving.dialects.dialect import Written

from .conftest import GREEDY, Heard, Subject, question, raw, told

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

FRANCE = "What is the capital of France?"


WEATHER = Tool(
    "get_weather",
    "The weather in a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
        "required": ["city"],
    },
)
ADD = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


def calls_of(heard: Heard) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call, put together."""
    return [(call.id, call.name, call.arguments) for call in Written(Stop("stop"), heard.deltas).calls]


async def test_a_call_that_must_be_made_is_made(engine: Engine) -> None:
    if "tools" not in engine.abilities:
        pytest.skip("no tools")
    for choice, names in (
        (ToolChoice("required"), {"get_weather", "add"}),
        (ToolChoice("required", "add"), {"add"}),
    ):
        heard = Heard()
        sampling = Sampling(temperature=1.5, seed=7)
        ask = question(FRANCE, tools=(WEATHER, ADD), tool_choice=choice, sampling=sampling, max_tokens=200)
        await engine.submit(ask, heard.sink)
        stop = await heard.ended()
        ((call_id, name, arguments),) = calls_of(heard)
        assert heard.text == ""
        assert name in names
        assert call_id
        if stop.reason == "tool_calls":
            values = json.loads(arguments)
            assert (
                values.get("city") in {"Paris", "Oslo"} if name == "get_weather" else type(values["a"]) is int
            )
        else:  # an integer may have as many digits as there is room
            assert (stop.reason, name) == ("length", "add")


async def test_a_conversation_with_calls_is_read(engine: Engine) -> None:
    if "tools" not in engine.abilities:
        pytest.skip("no tools")
    turns = (
        Turn.of("user", "What is the secret word?"),
        Turn("assistant", (ToolCall("call_abc", "add", '{"a": 1}'),)),
        Turn("tool", (ToolResult("call_abc", "The secret word is pineapple."),)),
    )
    text, stop = await told(engine, question("", turns=turns, tools=(ADD,), max_tokens=24))
    assert "pineapple" in text
    without = await engine.count(question("", turns=turns[:1], tools=(ADD,)))
    assert stop.usage.prompt_tokens > without > await engine.count(question("", turns=turns[:1]))


async def test_log_probabilities_stand_beside_their_tokens(engine: Engine) -> None:
    if "logprobs" not in engine.abilities:
        pytest.skip("no log probabilities")
    plain, _ = await told(engine, question(FRANCE, max_tokens=12))
    heard = Heard()
    await engine.submit(question(FRANCE, max_tokens=12, logprobs=3), heard.sink)
    stop = await heard.ended()
    tokens = [piece for piece in heard.deltas if isinstance(piece, TokenLogprobs)]
    assert heard.text == plain == "".join(token.chosen.text for token in tokens)
    assert len(tokens) == stop.usage.completion_tokens
    for token in tokens:  # greedy: the chosen one is the likeliest
        assert token.chosen == token.likeliest[0]
        logprobs = [one.logprob or 0.0 for one in token.likeliest]
        assert logprobs == sorted(logprobs, reverse=True)
        assert 0 < sum(map(math.exp, logprobs)) <= 1 + 1e-6


async def test_a_prompts_own_log_probabilities_come_first(engine: Engine) -> None:
    if "logprobs" not in engine.abilities:
        pytest.skip("no log probabilities")
    text = "The capital of France is Paris, and the capital of Spain is"
    scores: list[list[TokenLogprobs]] = []
    for _ in range(2):  # the second time the cache holds it all
        heard = Heard()
        ask = raw(text, logprobs=1, prompt_logprobs=True, prompt_only=True)
        count = await engine.submit(ask, heard.sink)
        stop = await heard.ended()
        assert (heard.text, stop.reason, stop.usage.completion_tokens) == ("", "length", 0)
        scores.append([piece for piece in heard.deltas if isinstance(piece, TokenLogprobs)])
        assert len(scores[-1]) == count
    first, *others = scores[0]
    assert first.chosen.logprob is None
    assert all(one.prompt for one in scores[0])
    assert all((one.chosen.logprob or 1) < 0 for one in others)
    assert "".join(one.chosen.text for one in scores[0]).endswith(text)
    again = [one.chosen.logprob for one in scores[1]]
    assert again == pytest.approx([one.chosen.logprob for one in scores[0]], abs=1e-3)
    # The same token is as likely when the model writes it.
    heard = Heard()
    await engine.submit(raw(text, logprobs=1, max_tokens=1), heard.sink)
    await heard.ended()
    (next_token,) = (piece for piece in heard.deltas if isinstance(piece, TokenLogprobs))
    longer = raw(text + next_token.chosen.text, logprobs=1, prompt_logprobs=True, prompt_only=True)
    heard = Heard()
    await engine.submit(longer, heard.sink)
    await heard.ended()
    last = [piece for piece in heard.deltas if isinstance(piece, TokenLogprobs)][-1]
    assert last.chosen.token == next_token.chosen.token
    assert last.chosen.logprob == pytest.approx(next_token.chosen.logprob, abs=0.05)


async def test_tokens_are_a_prompt_too(engine: Engine) -> None:
    heard = Heard()
    await engine.submit(
        raw("The capital of France is", logprobs=0, prompt_logprobs=True, max_tokens=4), heard.sink
    )
    await heard.ended()
    prompt = tuple(one.chosen.token for one in heard.deltas if isinstance(one, TokenLogprobs) and one.prompt)
    text, stop = await told(engine, question("", turns=(), prompt=prompt, max_tokens=4))
    assert text == heard.text
    assert stop.usage.prompt_tokens == len(prompt)
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(question("", turns=(), prompt=(10**8,)), Heard().sink)
    assert caught.value.code == "bad_request"


async def test_a_model_that_chats_gives_no_vectors_and_no_scores(engine: Engine) -> None:
    assert not engine.abilities & {"embed", "rank"}
    with pytest.raises(SlmDeskError) as caught:
        await engine.embed(EmbedAsk(("a cat",)))
    assert caught.value.code == "unsupported"
    with pytest.raises(SlmDeskError) as caught:
        await engine.rank(RankAsk("a cat", ("a dog",)))
    assert caught.value.code == "unsupported"


async def test_vectors_come_from_models_that_give_them(subject: Subject) -> None:
    engine = await subject.start(subject.vectors)
    try:
        assert "embed" in engine.abilities
        assert "chat" not in engine.abilities
        vectors = await engine.embed(EmbedAsk(("a cat", "a dog", "a cat")))
        first, second, third = vectors.lists()
        assert len(first) == vectors.dimensions == engine.facts.dimensions > 8
        assert [sum(number * number for number in row) for row in (first, second)] == pytest.approx([1, 1])
        assert sum(a * b for a, b in zip(first, third, strict=True)) == pytest.approx(1)
        assert sum(a * b for a, b in zip(first, second, strict=True)) < 0.999
        with pytest.raises(SlmDeskError) as caught:
            await engine.submit(question("Hello"), Heard().sink)
        assert caught.value.code == "unsupported"
        with pytest.raises(SlmDeskError) as caught:
            await engine.embed(EmbedAsk(("a cat " * 5000,)))
        assert caught.value.code == "context_exceeded"
        assert await engine.idle()
    finally:
        await engine.stop()


async def test_scores_come_from_models_that_rank(subject: Subject) -> None:
    engine = await subject.start(subject.ranking)
    try:
        assert engine.abilities == {"rank"}
        scores = (await engine.rank(RankAsk("a cat", ("the cat", "a house by the river")))).scores
        assert len(set(scores)) == 2
        assert all(0 < score < 1 for score in scores)
    finally:
        await engine.stop()


async def test_a_load_tells_how_far_it_is_and_can_be_given_up(subject: Subject) -> None:
    heard: list[float] = []
    engine = await subject.kind.start(
        subject.chat, "m", Loading(context_length=512, parallel=1), on_progress=heard.append
    )
    await engine.stop()
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    mine = psutil.Process()
    before = {child.pid for child in mine.children(recursive=True)}
    task = asyncio.create_task(subject.kind.start(subject.chat, "m", Loading(context_length=512, parallel=1)))
    while not {child.pid for child in mine.children(recursive=True)} - before:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not {child.pid for child in mine.children(recursive=True)} - before


async def test_a_file_that_is_not_there_is_said(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(SlmDeskError) as caught:
        await subject.kind.start(tmp_path / f"nothing{subject.chat.suffix}", "m", Loading())
    assert caught.value.code == "file_missing"


async def test_the_registry_finds_the_runtime_by_the_file(subject: Subject) -> None:
    kinds = EngineKinds([subject.kind])
    assert kinds.for_file(subject.chat) is subject.kind
    assert kinds.runs(subject.chat)
    assert not kinds.runs(Path("letter.txt"))
    # Where somebody looked inside, the name does not count: another program's file may have any.
    assert kinds.runs(Path("sha256-0a1b"), subject.chat.suffix.removeprefix("."))
    assert not kinds.runs(subject.chat, "adapter")
    with pytest.raises(SlmDeskError) as caught:
        kinds.for_file(Path("letter.txt"))
    assert caught.value.code == "model_not_runnable"


async def test_greedy_and_seeded_answers_repeat(engine: Engine) -> None:
    for sampling in (GREEDY, Sampling(temperature=1.0, seed=7)):
        answers = {
            (await told(engine, raw("Once upon a time", max_tokens=12, sampling=sampling)))[0]
            for _ in range(2)
        }
        assert len(answers) == 1


async def test_what_does_not_fit_is_left_out_only_where_that_was_asked_for_and_is_told(
    subject: Subject,
) -> None:
    engine = await subject.start(context_length=512, parallel=1)
    try:
        await _leaves_out(engine)
    finally:
        await engine.stop()


async def _leaves_out(engine: Engine) -> None:
    talk = [
        Turn.of("system", "Be brief."),
        Turn.of("user", "My name is Ada."),
        Turn.of("assistant", "Hello Ada."),
    ]
    for number in range(12):
        talk += [
            Turn.of("user", f"Remember the number {number}. " + "word " * 40),
            Turn.of("assistant", "Yes."),
        ]
    talk.append(Turn.of("user", FRANCE))
    whole = question("", turns=tuple(talk), max_tokens=12)
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(whole, Heard().sink)
    assert caught.value.code == "context_exceeded"
    prompts: dict[str, int] = {}
    for overflow in ("drop_oldest", "keep_ends"):
        heard = Heard()
        prompts[overflow] = await engine.submit(
            question("", turns=tuple(talk), max_tokens=12, overflow=overflow), heard.sink
        )
        stop = await heard.ended()
        assert "Paris" in heard.text
        assert stop.dropped_turns % 2 == 0
        assert 0 < stop.dropped_turns < len(talk) - 2
        assert prompts[overflow] <= engine.facts.context_length
        # One turn more would not have fitted.
        left = len(talk) - 2 - stop.dropped_turns
        kept = (
            talk[:1] + talk[len(talk) - 1 - left - 1 :]
            if overflow == "drop_oldest"
            else talk[:3] + talk[len(talk) - left + 1 :]
        )
        assert await engine.count(question("", turns=tuple(kept))) == pytest.approx(prompts[overflow], abs=60)
    short = question(FRANCE, max_tokens=12, overflow="drop_oldest")
    heard = Heard()
    await engine.submit(short, heard.sink)
    assert (await heard.ended()).dropped_turns == 0
    one = question("word " * 1200, overflow="drop_oldest")
    with pytest.raises(SlmDeskError) as caught:
        await engine.submit(one, Heard().sink)
    assert caught.value.code == "context_exceeded"
    heard = Heard()
    count = await engine.submit(raw("word " * 1200, overflow="keep_ends", max_tokens=2), heard.sink)
    stop = await heard.ended()
    assert count + stop.dropped_tokens == await engine.count(raw("word " * 1200))
