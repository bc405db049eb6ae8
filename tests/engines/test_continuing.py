"""Answers that are gone on with: the model sees exactly what it wrote, reasoning included."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.engines.reasoning import split
from slmdesk.inference.answers import Stop

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
    assert len(parts.reasoning) > 10


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
