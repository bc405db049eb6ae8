"""Turns against the real service, engine and built-in model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.chat.chats import NEW_CHAT
from slmdesk.chat.rules import NO_RULES, AnswerRules
from slmdesk.chat.tree import Message
from slmdesk.chat.turns import ConversationsChanged, MessageStored, TurnEnded, TurnEvent, TurnOptions
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import ReasoningDelta, Started
from slmdesk.inference.asks import Reasoning, Sampling

from .conftest import GREEDY, engine_processes, service_process

QUESTION = "What is Q4_K_M?"
SHORT = TurnOptions(Sampling(temperature=0.0), max_tokens=8)


async def finish(events: AsyncIterator[TurnEvent]) -> Message:
    """The answer of a turn that is read to its end."""
    last: TurnEvent | None = None
    async for event in events:
        last = event
    assert isinstance(last, TurnEnded)
    return last.message


async def until_text(events: AsyncIterator[TurnEvent], pieces: int = 3) -> str:
    """Read a turn until some text has come."""
    text = ""
    async for event in events:
        assert not isinstance(event, TurnEnded), event
        if isinstance(event, str):
            text += event
            pieces -= bool(event)
            if not pieces:
                return text
    raise AssertionError("the turn ended early")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that another task or process does."""
    for _ in range(1000):
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came true")


async def test_a_turn_from_the_typed_text_to_the_saved_answer(application: Application) -> None:
    chats = application.chats
    changed: list[int] = []
    application.events.subscribe(ConversationsChanged, lambda event: changed.append(event.conversation_id))
    conversation = await chats.create()
    await chats.save_draft(conversation.id, QUESTION)
    events = [event async for event in chats.send(conversation.id, QUESTION, GREEDY)]

    asked, answer = events[0], events[1]
    assert isinstance(asked, MessageStored)
    assert (asked.message.role, asked.message.text, asked.message.state) == ("user", QUESTION, "complete")
    assert isinstance(answer, MessageStored)
    assert (answer.message.role, answer.message.state) == ("assistant", "streaming")
    ended = events[-1]
    assert isinstance(ended, TurnEnded)
    text = "".join(event for event in events if isinstance(event, str))
    assert len(text) > 10
    assert (ended.message.text, ended.message.state, ended.message.error) == (text, "complete", None)
    [started] = [event for event in events if isinstance(event, Started)]
    stats = ended.message.stats
    assert stats["usage"]["prompt_tokens"] == started.prompt_tokens > 0
    assert stats["usage"]["completion_tokens"] > 0
    assert stats["timings"]["tokens_per_s"] > 0
    assert stats["context_length"] > 0
    assert stats["reason"] == "stop"

    tree = await chats.load(conversation.id)
    assert [m.text for m in tree.path()] == [QUESTION, text]
    assert tree.conversation.title == QUESTION
    assert tree.conversation.model == "slmdesk/desk-guide"
    assert await chats.load_draft(conversation.id) == ""
    assert [row.id for row in await chats.conversations("Q4_K_M")][:1] == [conversation.id]
    assert conversation.id in changed


async def test_the_second_turn_knows_the_first(application: Application) -> None:
    chats = application.chats
    conversation = await chats.create()
    first = await finish(chats.send(conversation.id, QUESTION, GREEDY))
    second = await finish(chats.send(conversation.id, "What is a quant?", GREEDY))
    used = first.stats["usage"]["prompt_tokens"] + first.stats["usage"]["completion_tokens"]
    assert second.stats["usage"]["prompt_tokens"] > used
    assert second.stats["usage"]["cached_tokens"] >= first.stats["usage"]["prompt_tokens"]


async def test_closing_the_iterator_stops_the_answer(application: Application, endless_model: Path) -> None:
    chats = application.chats
    conversation = await chats.create(str(endless_model))
    async with aclosing(chats.send(conversation.id, QUESTION)) as events:
        seen = await until_text(events)
    answer = (await chats.load(conversation.id)).path()[-1]
    assert (answer.state, answer.error) == ("stopped", None)
    assert answer.text.startswith(seen)
    # Its place in the engine is free again.
    client = await application.connector.connect()

    async def is_free() -> bool:
        return not any(model.active for model in (await client.status()).loaded)

    await until(is_free)
    # And the conversation goes on from there.
    await chats.set_model(conversation.id, "slmdesk/desk-guide")
    after = await finish(chats.send(conversation.id, QUESTION, GREEDY))
    assert after.state == "complete"
    assert len((await chats.load(conversation.id)).path()) == 4


async def test_stop_still_tells_how_it_ended(application: Application, endless_model: Path) -> None:
    chats = application.chats
    conversation = await chats.create(str(endless_model))
    states = []
    async for event in chats.send(conversation.id, QUESTION):
        if isinstance(event, str):
            await chats.stop(conversation.id)
        if isinstance(event, TurnEnded):
            states.append(event.message.state)
    assert states == ["stopped"]
    await chats.stop(conversation.id)  # nothing runs any more


async def test_a_stopped_answer_tells_what_it_used(application: Application, endless_model: Path) -> None:
    chats = application.chats
    conversation = await chats.create(str(endless_model))
    ended, pieces = None, 0
    async for event in chats.send(conversation.id, QUESTION):
        if isinstance(event, str):
            pieces += 1
            if pieces == 5:
                await chats.stop(conversation.id)
        if isinstance(event, TurnEnded):
            ended = event.message
    assert ended is not None
    usage, timings = ended.stats["usage"], ended.stats["timings"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] >= pieces
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert timings["tokens_per_s"] > 0
    client = await application.connector.connect()
    loaded = (await client.status()).model(str(endless_model))
    assert loaded is not None
    assert ended.stats["context_length"] == loaded.context_length > 0
    # Kept, so that the figures are there when the conversation is opened again.
    assert (await chats.load(conversation.id)).path()[-1].stats["usage"] == usage


async def test_cancelling_the_reader_stops_the_answer(application: Application, endless_model: Path) -> None:
    chats = application.chats
    conversation = await chats.create(str(endless_model))
    task = asyncio.create_task(finish(chats.send(conversation.id, QUESTION)))

    async def has_text() -> bool:
        path = (await chats.load(conversation.id)).path()
        return len(path) == 2 and path[1].text != ""

    await until(has_text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def is_stopped() -> bool:
        return (await chats.load(conversation.id)).path()[-1].state == "stopped"

    await until(is_stopped)


async def test_closing_the_program_keeps_what_was_written(
    application: Application, endless_model: Path
) -> None:
    conversation = await application.chats.create(str(endless_model))
    events = application.chats.send(conversation.id, QUESTION)
    seen = await until_text(events)
    await application.close()
    await events.aclose()
    again = Application.build()
    try:
        answer = (await again.chats.load(conversation.id)).path()[-1]
        assert answer.state == "stopped"
        assert answer.text.startswith(seen)
    finally:
        await again.close()


async def test_regenerating_and_editing_grow_branches(application: Application) -> None:
    chats = application.chats
    conversation = await chats.create()
    first = await finish(chats.send(conversation.id, QUESTION, GREEDY))
    second = await finish(chats.regenerate(first.id, GREEDY))
    assert second.parent_id == first.parent_id
    assert second.text == first.text  # the same question, decoded greedily
    tree = await chats.load(conversation.id)
    assert [m.id for m in tree.siblings(first.id)] == [first.id, second.id]
    assert tree.path()[-1].id == second.id

    asked = tree.path()[0]
    other = await finish(chats.edit(asked.id, "What is a model?", GREEDY))
    tree = await chats.load(conversation.id)
    assert [m.text for m in tree.path()] == ["What is a model?", other.text]
    assert len(tree.siblings(asked.id)) == 2

    back = await chats.select(asked.id)
    assert [m.id for m in back.path()] == [asked.id, second.id]
    assert [m.id for m in (await chats.select(first.id)).path()] == [asked.id, first.id]
    # An answer below a message of the person is asked for by that message.
    third = await finish(chats.regenerate(asked.id, GREEDY))
    assert third.parent_id == asked.id


async def test_another_model_answers_once(application: Application, endless_model: Path) -> None:
    chats = application.chats
    conversation = await chats.create()
    first = await finish(chats.send(conversation.id, QUESTION, SHORT))
    other = replace(SHORT, model=str(endless_model))
    second = await finish(chats.regenerate(first.id, other))
    assert (second.parent_id, second.state) == (first.parent_id, "complete")
    assert second.model == str(endless_model) != first.model
    # It is no choice for what follows, but going on with that answer is the same model's.
    tree = await chats.load(conversation.id)
    assert tree.conversation.model == first.model
    continued = await finish(chats.continue_from(second.id, SHORT))
    client = await application.connector.connect()
    assert any(model.id == str(endless_model) for model in (await client.status()).loaded)
    assert continued.text.startswith(second.text)
    assert len(continued.text) > len(second.text)
    third = await finish(chats.send(conversation.id, QUESTION, SHORT))
    assert third.model == first.model
    # One that is not there is said before anything is stored.
    with pytest.raises(SlmDeskError) as caught:
        await finish(chats.regenerate(third.id, replace(SHORT, model="nobody/nothing")))
    assert caught.value.code == "model_not_found"
    assert len((await chats.load(conversation.id)).messages) == 5


async def test_a_seed_repeats_an_answer(application: Application) -> None:
    chats = application.chats
    texts = set()
    for _ in range(2):
        conversation = await chats.create()
        options = TurnOptions(Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=7), max_tokens=30)
        texts.add((await finish(chats.send(conversation.id, QUESTION, options))).text)
    assert len(texts) == 1
    conversation = await chats.create()
    other = TurnOptions(Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=8), max_tokens=30)
    assert (await finish(chats.send(conversation.id, QUESTION, other))).text not in texts


async def test_an_answer_cut_short_is_continued(application: Application) -> None:
    chats = application.chats
    conversation = await chats.create()
    whole = await finish(chats.send(conversation.id, QUESTION, GREEDY))
    cut = await finish(chats.regenerate(whole.id, TurnOptions(Sampling(temperature=0.0), max_tokens=5)))
    assert cut.stats["reason"] == "length"
    assert whole.text.startswith(cut.text)
    assert cut.text != whole.text
    events = [event async for event in chats.continue_from(cut.id, GREEDY)]
    ended = events[-1]
    assert isinstance(ended, TurnEnded)
    assert ended.message.id == cut.id
    assert ended.message.text.startswith(cut.text)
    assert len(ended.message.text) > len(cut.text)
    arrived = "".join(event for event in events if isinstance(event, str))
    assert ended.message.text == cut.text + arrived


async def test_one_answer_at_a_time(application: Application, endless_model: Path) -> None:
    chats = application.chats
    conversation = await chats.create(str(endless_model))
    async with aclosing(chats.send(conversation.id, QUESTION)) as events:
        await until_text(events)
        with pytest.raises(SlmDeskError) as raised:
            await finish(chats.send(conversation.id, "and this?"))
        assert raised.value.code == "conversation_busy"
        # Another conversation is not held up.
        other = await chats.create()
        assert (await finish(chats.send(other.id, QUESTION, GREEDY))).state == "complete"
        await chats.delete(conversation.id)  # stops it
    assert conversation.id not in [row.id for row in await chats.conversations()]
    await chats.restore(conversation.id)
    assert (await chats.load(conversation.id)).path()[-1].state == "stopped"
    assert conversation.id in [row.id for row in await chats.conversations()]


async def test_what_cannot_be_sent_stores_nothing(application: Application) -> None:
    chats = application.chats
    conversation = await chats.create()
    answer = await finish(chats.send(conversation.id, QUESTION, GREEDY))
    for events, code in (
        (chats.send(conversation.id, " \n"), "message_empty"),
        (chats.send(10**6, "x"), "conversation_not_found"),
        (chats.edit(answer.id, "x"), "message_not_editable"),
        (chats.edit(10**6, "x"), "message_not_found"),
        (chats.continue_from((await chats.load(conversation.id)).path()[0].id), "message_not_continuable"),
    ):
        with pytest.raises(SlmDeskError) as raised:
            await finish(events)
        assert raised.value.code == code
        assert raised.value.hint
    assert len((await chats.load(conversation.id)).messages) == 2
    with pytest.raises(SlmDeskError) as raised:
        await chats.create("slmdesk/desk-gide")
    assert raised.value.code == "model_not_found"
    assert "desk-guide" in raised.value.hint


async def test_a_model_that_is_gone_fails_the_answer_and_not_the_conversation(
    application: Application,
) -> None:
    chats = application.chats
    application.settings.set("chat.model", "nobody/nothing")
    try:
        conversation = await chats.create()
        failed = await finish(chats.send(conversation.id, QUESTION, GREEDY))
    finally:
        application.settings.reset("chat.model")
    assert (failed.state, failed.text) == ("failed", "")
    assert failed.error is not None
    assert failed.error["code"] == "model_not_found"
    await chats.set_model(conversation.id, "slmdesk/desk-guide")
    answer = await finish(chats.regenerate(failed.id, GREEDY))
    assert answer.state == "complete"


async def test_titles_models_drafts_and_prompts_of_a_conversation(application: Application) -> None:
    chats = application.chats
    conversation = await chats.create(system_prompt="Be short.")
    await finish(chats.send(conversation.id, QUESTION, GREEDY))
    await chats.rename(conversation.id, "  Another\n name ")
    assert (await chats.load(conversation.id)).conversation.title == "Another name"
    await finish(chats.send(conversation.id, "More", GREEDY))
    await chats.rename(conversation.id, "")
    await chats.set_system_prompt(conversation.id, "Be long.")
    loaded = (await chats.load(conversation.id)).conversation
    assert (loaded.title, loaded.system_prompt) == (QUESTION, "Be long.")
    await chats.save_draft(NEW_CHAT, "half a")
    assert await chats.load_draft(NEW_CHAT) == "half a"
    await chats.save_draft(NEW_CHAT, "")
    copy = await chats.import_json(await chats.export(conversation.id, "json"))
    assert [m.text for m in (await chats.load(copy.id)).path()] == [
        m.text for m in (await chats.load(conversation.id)).path()
    ]
    assert QUESTION in await chats.export(conversation.id)


async def test_a_killed_engine_cuts_the_answer_and_the_next_turn_starts_it_again(
    application: Application, endless_model: Path
) -> None:
    chats = application.chats
    conversation = await chats.create(str(endless_model))
    async with aclosing(chats.send(conversation.id, QUESTION)) as events:
        seen = await until_text(events)
        for engine in engine_processes(application.paths):
            engine.kill()
        cut = await finish(events)
    assert cut.state == "interrupted"
    assert cut.text.startswith(seen)
    assert cut.error is not None
    assert cut.error["code"] == "engine_killed"
    assert cut.error["hint"]
    continued = await finish(chats.continue_from(cut.id, TurnOptions(max_tokens=5)))
    assert continued.error is None
    assert continued.text.startswith(cut.text)
    assert (await finish(chats.send(conversation.id, QUESTION, SHORT))).state == "complete"


async def test_a_killed_service_cuts_the_answer_and_the_next_turn_finds_another(
    application: Application, endless_model: Path
) -> None:
    chats = application.chats
    conversation = await chats.create(str(endless_model))
    async with aclosing(chats.send(conversation.id, QUESTION)) as events:
        seen = await until_text(events)
        service = service_process(application.paths)
        service.kill()
        cut = await finish(events)
    assert cut.state == "interrupted"
    assert cut.text.startswith(seen)
    assert cut.error is not None
    assert cut.error["code"] == "service_lost"
    after = await finish(chats.send(conversation.id, QUESTION, SHORT))
    assert (after.state, after.error) == ("complete", None)
    # A service that dies between two turns is not noticed at all.
    service_process(application.paths).kill()
    last = await finish(chats.send(conversation.id, QUESTION, SHORT))
    assert (last.state, last.error) == ("complete", None)


async def test_a_service_killed_in_mid_thought_and_the_thought_going_on(
    application: Application, endless_thinker: Path
) -> None:
    chats = application.chats
    conversation = await chats.create(str(endless_thinker))
    async with aclosing(chats.send(conversation.id, QUESTION)) as events:
        seen = ""
        async for event in events:
            if isinstance(event, ReasoningDelta) and (seen := seen + event.text).strip():
                break
        service_process(application.paths).kill()
        cut = await finish(events)
    assert (cut.state, cut.text) == ("interrupted", "")
    assert cut.error is not None
    assert cut.error["code"] == "service_lost"
    (thought,) = cut.parts
    assert isinstance(thought, Reasoning)
    assert thought.text.startswith(seen)
    assert cut.stats["reasoning_s"] >= 0
    # The next turn goes on without it, and the answer itself goes on within it, in another service.
    continued = await finish(chats.continue_from(cut.id, SHORT))
    assert (continued.state, continued.text) == ("complete", "")
    (longer,) = continued.parts
    assert isinstance(longer, Reasoning)
    assert longer.text.startswith(thought.text)
    assert len(longer.text) > len(thought.text)
    assert continued.stats["reasoning_s"] >= cut.stats["reasoning_s"]


SCHEMA = """{
  "type": "object",
  "properties": {"quant": {"enum": ["Q4_K_M", "Q8_0"]}, "words": {"type": "array", "minItems": 3, "maxItems": 3,
    "items": {"enum": ["small", "fast", "exact"]}}},
  "required": ["quant", "words"],
  "additionalProperties": false
}"""


async def test_answers_are_held_to_the_schema_of_their_conversation(application: Application) -> None:
    chats = application.chats
    conversation = await chats.create()
    await chats.set_rules(conversation.id, AnswerRules(schema=SCHEMA))
    cut = await finish(chats.send(conversation.id, QUESTION, SHORT))
    assert cut.stats["reason"] == "length"
    whole = await finish(chats.continue_from(cut.id, GREEDY))  # the schema goes on where it was
    assert whole.text.startswith(cut.text)
    assert set(json.loads(whole.text)) == {"quant", "words"}
    await chats.set_rules(conversation.id, NO_RULES)
    free = await finish(chats.regenerate(whole.id, GREEDY))
    assert not free.text.startswith("{")


async def test_what_is_wrong_with_a_schema_is_told_at_once(application: Application) -> None:
    chats = application.chats
    conversation = await chats.create()
    for text, said in (
        ('{"type":\n  oops}', "Line 2, column 3"),
        ("[1]", "no object"),
        ('{"not": {"type": "string"}}', "It uses not"),
    ):
        answer = await finish(chats.send(conversation.id, "Hello", SHORT))  # so that the model is loaded
        with pytest.raises(SlmDeskError) as caught:
            await chats.check_schema(answer.model, text)
        assert caught.value.code == "schema_invalid"
        assert said in caught.value.message
    with pytest.raises(SlmDeskError):
        await chats.set_rules(conversation.id, AnswerRules(schema="{"))
    assert (await chats.load(conversation.id)).conversation.rules == NO_RULES
    await chats.check_schema(answer.model, SCHEMA)
    await chats.check_schema("nobody/nothing", SCHEMA)  # nothing is loaded to ask


async def test_a_new_conversation_begins_with_the_instructions_that_its_model_keeps(
    application: Application,
) -> None:
    """They go before the settings' own; what a person gives goes before both."""
    library = application.library
    file = await library.resolve("slmdesk/desk-guide")
    library.kept.change(file, {"system_prompt": "Kept."})
    try:
        assert (await application.chats.create("slmdesk/desk-guide")).system_prompt == "Kept."
        assert (await application.chats.create()).system_prompt == "Kept."
        assert (await application.chats.create("slmdesk/desk-guide", "Given.")).system_prompt == "Given."
        library.kept.change(file, {"system_prompt": ""})
        assert (await application.chats.create("slmdesk/desk-guide")).system_prompt == ""
    finally:
        library.kept.reset(file)
