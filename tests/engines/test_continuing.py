"""Answers that are gone on with: the model sees exactly what it wrote, reasoning included."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.engines.reasoning import split
from slmdesk.inference.answers import ReasoningDelta, Stop
from slmdesk.inference.asks import Ask as Asked
from slmdesk.inference.asks import Part, Reasoning, Text, Turn

from .conftest import GREEDY, Heard

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[..., Awaitable[Any]]
Answer = Callable[..., Awaitable[tuple[str, Stop]]]
Start = Callable[..., Awaitable[Engine]]
QUESTION = "What is Q4_K_M?"


async def test_an_answer_goes_on_as_if_never_cut(engine: Engine, ask: Ask, answer: Answer) -> None:
    whole = await ask(engine, QUESTION)
    await whole.end
    for count in range(1, len(whole.texts), 3):
        begun = "".join(whole.texts[:count])
        messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": begun}]
        text, finished = await answer(engine, messages)
        assert begun + text == whole.text
        assert finished.reason == "stop"


async def test_an_empty_answer_is_begun(engine: Engine, answer: Answer) -> None:
    asked = [{"role": "user", "content": QUESTION}]
    begun, _ = await answer(engine, [*asked, {"role": "assistant", "content": ""}])
    assert begun == (await answer(engine, asked))[0]


async def test_what_the_template_opens_is_told(start: Start, ask: Ask, thinker: Path) -> None:
    engine = await start(thinker)
    heard = await ask(engine, QUESTION, max_tokens=30)
    await heard.end
    assert heard.texts[0].startswith("<think>\n")
    parts = split(heard.text)
    assert parts.thinking
    assert parts.visible == ""
    assert len(parts.reasoning.strip()) > 10


async def test_reasoning_goes_on_as_if_never_cut(
    start: Start, ask: Ask, answer: Answer, thinker: Path
) -> None:
    engine = await start(thinker)
    whole = await ask(engine, QUESTION, max_tokens=30)
    await whole.end
    for count in (1, 4, 9):
        begun = "".join(whole.texts[:count])
        messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": begun}]
        text, _ = await answer(engine, messages, max_tokens=30 - count)
        assert begun + text == whole.text


async def test_thoughts_are_gone_on_with_apart(start: Start, ask: Ask, thinker: Path) -> None:
    """Handed back as parts, in the middle of a thought and behind it, to an engine that tells both apart."""
    engine = await start(thinker)
    whole = await ask(engine, QUESTION, max_tokens=30)
    await whole.end
    thought = whole.text.removeprefix("<think>")
    question = Turn.of("user", QUESTION)

    async def go_on(*parts: Part, **options: Any) -> Heard:
        turns = (question, Turn("assistant", parts))
        heard = Heard(id=f"parts {len(parts)} {options}")
        await engine.submit(
            Asked(turns=turns, id=heard.id, sampling=GREEDY, apart=True, max_tokens=20, **options), heard.sink
        )
        await heard.end
        return heard

    for count in (1, 6):
        begun = "".join(whole.texts[:count]).removeprefix("<think>")
        heard = await go_on(Reasoning(begun))
        assert {type(piece) for piece in heard.pieces} == {ReasoningDelta}
        more = "".join(piece.text for piece in heard.pieces)
        assert thought.startswith((begun + more)[: len(thought)])
    answered = await go_on(Reasoning(thought), Text("Q4_K_M is"))
    assert {type(piece) for piece in answered.pieces} == {str}
    as_written = f"<think>{thought}</think>\n\nQ4_K_M is"
    plain = await ask(
        engine,
        [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": as_written}],
        max_tokens=20,
    )
    await plain.end
    assert answered.text == plain.text
    # Another engine that goes on behind what this one had written is still within the thought.
    second = await go_on(Reasoning(thought[:40]), written=(300,))
    assert {type(piece) for piece in second.pieces} == {ReasoningDelta}


async def test_the_mark_is_told_once_where_a_second_engine_goes_on(
    start: Start, ask: Ask, thinker: Path
) -> None:
    """What the first engine had given out before it died ends with a token, and the mark came before that."""
    engine = await start(thinker)
    heard = await ask(engine, QUESTION, max_tokens=8, written=[300])
    await heard.end
    assert heard.text
    assert "<think>" not in heard.text


async def test_an_answer_of_a_given_shape_is_not_begun_with_a_mark(
    start: Start, answer: Answer, thinker: Path
) -> None:
    engine = await start(thinker)
    text, _ = await answer(engine, QUESTION, sampling={"temperature": 0.0, "grammar": 'root ::= "{}"'})
    assert text == "{}"


async def test_half_a_character_at_the_end_is_left_out(engine: Engine, ask: Ask) -> None:
    sampling = {"temperature": 0.0, "grammar": 'root ::= "🦙🦙🦙"'}
    seen = set()
    for most in range(1, 13):
        heard = await ask(engine, "Say it", sampling=sampling, max_tokens=most)
        finished = await heard.end
        assert heard.text == "🦙" * len(heard.text)
        seen.add((len(heard.text), finished.reason))
    assert {
        (0, "length"),
        (1, "length"),
        (2, "length"),
    } <= seen  # cut within a character, and still whole ones
