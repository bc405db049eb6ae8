"""The client of front ends, and what becomes of an answer when somebody goes away."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import psutil
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import AnswerEvent, LoadProgress, Started, Stop
from slmdesk.inference.asks import Ask
from slmdesk.serving.client import ServiceClient
from slmdesk.serving.entries import LoadedModel
from tests.asking import chatting

from .conftest import ENDLESS, MODEL, Front, Running, kill, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(90)

ASKED = [{"role": "user", "content": "What is Q4_K_M?"}]


def endless() -> Ask:
    return chatting(MODEL, ASKED, ENDLESS)


def short(tokens: int = 8) -> Ask:
    return chatting(MODEL, ASKED, {"temperature": 0}, tokens)


async def everything(client: ServiceClient, request: Ask) -> list[AnswerEvent]:
    async with aclosing(client.ask(request)) as events:
        return [event async for event in events]


async def becomes(client: ServiceClient, condition: Callable[[LoadedModel], bool]) -> LoadedModel:
    """Wait until the status of the built-in model meets a condition."""
    for _ in range(1000):
        loaded = (await client.status()).model(MODEL)
        if loaded is not None and condition(loaded):
            return loaded
        await asyncio.sleep(0.02)
    raise AssertionError(f"never became so: {loaded}")


def text_of(events: list[AnswerEvent]) -> str:
    return "".join(event for event in events if isinstance(event, str))


async def test_a_first_question_loads_the_model_and_tells_how_far_it_is(front: Front) -> None:
    client = await front.client()
    assert (await client.status()).loaded == ()
    events = await everything(client, short())
    kinds = [type(event) for event in events]
    assert kinds[0] is LoadProgress
    loads = [event.fraction for event in events if isinstance(event, LoadProgress)]
    assert loads == sorted(loads)
    assert loads[-1] == 1.0
    started = kinds.index(Started)
    assert set(kinds[:started]) == {LoadProgress}
    assert set(kinds[started + 1 : -1]) == {str}
    end = events[-1]
    assert isinstance(end, Stop)
    assert end.reason == "length"
    assert end.usage.completion_tokens == 8
    assert events[started] == Started(end.usage.prompt_tokens, context_length=end.context_length)
    assert end.timings.tokens_per_s > 0

    again = await everything(client, short())
    assert LoadProgress not in {type(event) for event in again}
    assert text_of(again) == text_of(events)

    status = await client.status()
    loaded = status.model(MODEL)
    assert loaded is not None
    assert loaded == status.model(f"{MODEL}:F16")
    assert loaded.state == "ready"
    assert loaded.context_length == end.context_length
    assert loaded.memory_bytes > 10_000_000
    assert [loaded.pid] == front.engines
    entry = next(entry for entry in await client.models() if entry.id == MODEL)
    assert entry.loaded
    assert entry.built_in

    counted = await client.count(chatting(MODEL, ASKED))
    assert counted == end.usage.prompt_tokens

    assert await client.unload(MODEL)
    assert (await client.status()).loaded == ()
    assert front.engines == []
    assert not await client.unload(MODEL)

    async with aclosing(client.load(MODEL)) as loading:
        steps = [step async for step in loading]
    assert steps[-1] == 1.0
    assert (await client.status()).model(MODEL) is not None


async def test_questions_asked_at_once_share_one_load(front: Front) -> None:
    client = await front.client()
    answers = await asyncio.gather(*(everything(client, short()) for _ in range(6)))
    assert len({text_of(answer) for answer in answers}) == 1
    assert all(isinstance(answer[0], LoadProgress) for answer in answers)
    assert len(front.engines) == 1


async def test_closing_an_answer_frees_its_slot(client: ServiceClient) -> None:
    async with aclosing(client.ask(endless())) as events:
        async for event in events:
            if isinstance(event, str):
                break
        loaded = (await client.status()).model(MODEL)
        assert loaded is not None
        assert (loaded.active, loaded.queued) == (1, 0)
    await becomes(client, lambda model: model.active == 0)
    # The next answer is not held up by one that goes on unseen.
    assert isinstance((await everything(client, short()))[-1], Stop)


async def test_answers_beyond_the_slots_wait_in_line(client: ServiceClient) -> None:
    async with aclosing(client.load(MODEL)) as loading:
        async for _ in loading:
            pass
    ready = (await client.status()).model(MODEL)
    assert ready is not None
    running = [asyncio.create_task(everything(client, endless())) for _ in range(ready.parallel + 2)]
    loaded = await becomes(client, lambda model: model.queued == 2)
    assert loaded.active == ready.parallel
    with pytest.raises(SlmDeskError, match="answering right now") as busy:
        await client.unload(MODEL)
    assert busy.value.code == "model_busy"
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await becomes(client, lambda model: model.active == model.queued == 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(service: Running, stream: bool) -> None:
    """A plain socket that is closed, as when another program crashes; also for answers that are not streamed."""
    body = json.dumps({"model": MODEL, "messages": ASKED, "stream": stream, **ENDLESS})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {service.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, port = service.netloc.split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall((head + body).encode())
    if stream:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    until(lambda: service.status()["active"] == 1, "the answer to begin")
    connection.close()
    until(lambda: service.status()["active"] == 0, "the slot to be free")
    until_at_rest(service.status()["pid"])


def until_at_rest(pid: int) -> None:
    """Until the process computes no more: its processor time stands still."""
    process = psutil.Process(pid)

    def still() -> bool:
        before = sum(process.cpu_times()[:2])
        time.sleep(0.3)
        return sum(process.cpu_times()[:2]) - before < 0.1

    until(still, "the engine to rest")


async def test_an_engine_killed_in_mid_answer_is_reported_with_the_text_so_far(front: Front) -> None:
    client = await front.client()
    seen: list[AnswerEvent] = []

    async def ask() -> None:
        async with aclosing(client.ask(endless())) as events:
            async for event in events:
                seen.append(event)
                if isinstance(event, str):
                    for engine in front.engines:
                        await asyncio.to_thread(kill, engine)

    with pytest.raises(SlmDeskError) as killed:
        await ask()
    assert killed.value.code == "engine_killed"
    assert killed.value.hint
    assert text_of(seen)
    failed = (await client.status()).model(MODEL)
    assert failed is not None
    assert failed.state == "failed"
    assert failed.problem is not None
    assert failed.problem["code"] == "engine_killed"

    # The next message works: the engine is started again.
    again = await everything(client, short())
    assert isinstance(again[0], LoadProgress)
    assert isinstance(again[-1], Stop)

    # A second death within a minute: said, and not started a third time.
    await asyncio.to_thread(kill, front.engines[0])
    await becomes(client, lambda model: model.state == "failed")
    for _ in range(2):
        with pytest.raises(SlmDeskError) as failing:
            await everything(client, short())
        assert failing.value.code == "engine_keeps_failing"
        assert killed.value.message in failing.value.message
        assert front.engines == []

    # Who unloads it on purpose may try at once.
    assert await client.unload(MODEL)
    assert isinstance((await everything(client, short()))[-1], Stop)


async def test_a_service_killed_in_mid_answer_is_lost_and_found_again(front: Front) -> None:
    client = await front.client()
    first = front.state

    async def ask() -> None:
        async with aclosing(client.ask(endless())) as events:
            async for event in events:
                if isinstance(event, str):
                    await asyncio.to_thread(kill, first.pid)

    with pytest.raises(SlmDeskError) as lost:
        await ask()
    assert lost.value.code == "service_lost"
    with pytest.raises(SlmDeskError) as unreachable:
        await client.status()
    # The system may still take a connection for a process it is clearing away.
    assert unreachable.value.code in {"service_unreachable", "service_lost"}

    fresh = await front.client()
    assert fresh is not client
    assert front.state.pid != first.pid
    assert isinstance((await everything(fresh, short()))[-1], Stop)


async def test_errors_come_back_as_they_were_raised(client: ServiceClient) -> None:
    with pytest.raises(SlmDeskError) as unknown:
        await everything(client, chatting("slmdesk/desk-gide", ASKED))
    assert unknown.value.code == "model_not_found"
    assert MODEL in unknown.value.hint
    with pytest.raises(SlmDeskError) as wrong:
        await everything(client, chatting(MODEL, ASKED, {"temperature": "warm"}))
    assert wrong.value.code == "bad_request"
    with pytest.raises(SlmDeskError) as long:
        await everything(client, chatting(MODEL, [{"role": "user", "content": "word " * 3000}]))
    assert long.value.code == "context_exceeded"
    with pytest.raises(SlmDeskError):
        async for _ in client.load("nobody/nothing"):
            pass


async def test_a_path_is_a_model_for_a_front_end(client: ServiceClient, desk_guide: Path) -> None:
    path = str(desk_guide)
    events = await everything(client, chatting(path, ASKED, {"temperature": 0}, 4))
    assert isinstance(events[-1], Stop)
    assert (await client.status()).model(path) is not None


async def test_a_damaged_file_is_explained_and_the_service_goes_on(
    client: ServiceClient, desk_guide: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(desk_guide.read_bytes()[:200_000])
    pid = (await client.health())["pid"]
    for _ in range(3):
        with pytest.raises(SlmDeskError) as damaged:
            await everything(client, chatting(str(broken), ASKED))
        assert damaged.value.code not in {"unexpected", "unknown", "engine_keeps_failing"}
        assert damaged.value.hint
    assert (await client.health())["pid"] == pid


async def test_a_setting_changed_while_the_model_rests_counts_for_the_next_answer(front: Front) -> None:
    client = await front.client()
    before = (await everything(client, short()))[-1]
    assert isinstance(before, Stop)
    front.paths.settings_file.write_text("[engine]\ncontext_length = 512\n")
    after = (await everything(client, short()))[-1]
    assert isinstance(after, Stop)
    assert (before.context_length, after.context_length) == (2048, 512)
    assert len(front.engines) == 1


async def test_the_model_used_least_recently_makes_room(front: Front) -> None:
    front.paths.settings_file.parent.mkdir(parents=True, exist_ok=True)
    front.paths.settings_file.write_text("[service]\nmax_loaded = 2\n")
    names = []
    for number in range(3):
        copy = front.paths.data / f"copy-{number}.gguf"
        copy.write_bytes(front.paths.builtin_model.read_bytes())
        names.append(str(copy))
    client = await front.client()

    async def ask(name: str) -> None:
        assert isinstance((await everything(client, chatting(name, ASKED, {}, 2)))[-1], Stop)

    async def loaded() -> set[str]:
        status = await client.status()
        return {name for name in names if status.model(name) is not None}

    await ask(names[0])
    await ask(names[1])
    await ask(names[0])
    assert await loaded() == {names[0], names[1]}
    await ask(names[2])
    assert await loaded() == {names[0], names[2]}
    assert len(front.engines) == 2

    # While both answer, a third waits for its turn: until one of them is done.
    async with aclosing(client.ask(chatting(names[0], ASKED, ENDLESS))) as one:
        await anext(one)
        async with aclosing(client.ask(chatting(names[2], ASKED, ENDLESS))) as two:
            await anext(two)
            third = asyncio.create_task(ask(names[1]))
            while (status := (await client.status()).model(names[1])) is None or status.queued != 1:
                await asyncio.sleep(0.01)
            assert await loaded() >= {names[0], names[2]}
            await anext(two)
            assert not third.done()
        await third
        assert names[1] in await loaded()
