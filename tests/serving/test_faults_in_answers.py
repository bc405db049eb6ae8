"""Engines that native code ends in the middle of answers: the answers are completed, and what helped is remembered."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.safe_steps import ModelFile, SafeSteps, installed_ladder, safe_steps_in
from slmdesk.inference.answers import EngineChanged, Stop
from slmdesk.inference.asks import Ask
from slmdesk.serving.client import ServiceClient
from tests.asking import chatting
from tests.serving.conftest import ENDLESS, Front

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

QUESTION = "Tell me what a lighthouse is for, in a few sentences."
ASKED = [{"role": "user", "content": QUESTION}]


@dataclass
class Heard:
    """An answer as a client saw it."""

    text: str = ""
    changes: list[str] = field(default_factory=list)
    end: Stop | None = None


async def hear(
    client: ServiceClient, request: Ask, *, hurt: tuple[signal.Signals, ...] = (), after: int = 20
) -> Heard:
    """Ask, and end the engine with each signal of `hurt`, once so many more characters have come each time."""
    heard, at, left, pid = Heard(), after, list(hurt), 0
    async with aclosing(client.ask(request)) as events:
        async for event in events:
            match event:
                case str() as text:
                    heard.text += text
                case EngineChanged(text=text):
                    heard.changes.append(text)
                case Stop():
                    heard.end = event
            if left and len(heard.text) >= at:
                at = len(heard.text) + after
                pid = await end_engine(client, request.model, left.pop(0), pid)
    return heard


async def hurt(client: ServiceClient, request: Ask, *faults: signal.Signals, after: int = 20) -> Heard:
    """`hear` with these faults. An answer that was written before they could reach it is asked for again."""
    for _ in range(20):
        heard = await hear(client, request, hurt=faults, after=after)
        if len(heard.changes) >= len(faults):
            return heard
        await client.unload(request.model)
    pytest.fail("twenty answers were faster than a signal")


async def end_engine(client: ServiceClient, model: str, with_signal: signal.Signals, ended: int = 0) -> int:
    """Send the signal to the engine that answers now, another one than `ended`; its process id."""
    while True:
        loaded = (await client.status()).model(model)
        if loaded is not None and loaded.pid not in {0, ended}:
            os.kill(loaded.pid, with_signal)
            return loaded.pid
        await asyncio.sleep(0.005)


def ask(model: Path, **fields: object) -> Ask:
    options: dict[str, Any] = {
        "messages": ASKED,
        "sampling": {"temperature": 0.0},
        "max_tokens": 48,
        **fields,
    }
    return chatting(str(model), **options)


@pytest.fixture
def steps(front: Front) -> SafeSteps:
    """What is remembered in the home of this test."""
    return safe_steps_in(front.paths.data)


async def test_a_killed_engine_completes_its_answer_and_what_helped_is_remembered(
    front: Front, smollm2: Path, steps: SafeSteps
) -> None:
    client = await front.client()
    request = ask(smollm2, max_tokens=20)
    whole = await hear(client, request)
    assert whole.changes == []
    again = await hurt(client, request, signal.SIGSEGV)
    assert again.text == whole.text
    assert again.end is not None
    assert whole.end is not None
    assert (again.end.reason, again.end.usage) == (whole.end.reason, whole.end.usage)
    assert len(again.changes) == 1
    assert "extra buffers" in again.changes[0]

    [entry] = steps.remembered()
    assert (entry.scope, entry.step, entry.model) == ("model", "no_extra_buffers", str(smollm2))
    assert "SIG" not in entry.why
    assert "access violation" in entry.details
    assert steps.machine_step() == "all"
    pid = front.engines
    third = await hear(client, request)  # not loaded anew: it runs at the remembered step already
    assert third.changes == []
    assert front.engines == pid

    assert len(steps.forget_all()) == 1  # the way back counts from the next question on
    await hear(client, request)
    assert front.engines != pid


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param((signal.SIGILL, signal.SIGABRT), id="one"),
        pytest.param((signal.SIGBUS, signal.SIGFPE), id="two"),
    ],
)
async def test_every_native_fault_is_stepped_around_twice_in_one_answer(
    front: Front, desk_guide: Path, steps: SafeSteps, faults: tuple[signal.Signals, ...]
) -> None:
    client = await front.client()
    heard = await hurt(client, ask(desk_guide, sampling=ENDLESS, max_tokens=400), *faults)
    assert len(heard.changes) == 2
    assert "flash attention" in heard.changes[1]
    assert heard.end is not None
    assert (heard.end.reason, heard.end.usage.completion_tokens) == ("length", 400)
    assert [entry.step for entry in steps.remembered()] == ["no_flash_attention"]


async def test_streams_of_one_engine_all_go_on(front: Front, desk_guide: Path, steps: SafeSteps) -> None:
    client = await front.client()
    questions = ("What is a quant?", "What is a model?", "What is the context?")
    requests = [
        ask(desk_guide, messages=[{"role": "user", "content": question}], max_tokens=40)
        for question in questions
    ]
    alone = [await hear(client, request) for request in requests]
    heard = await asyncio.gather(
        hear(client, requests[0], hurt=(signal.SIGSEGV,)),
        *(hear(client, request) for request in requests[1:]),
    )
    for before, after in zip(alone, heard, strict=True):
        assert after.text == before.text
        assert before.end is not None
        assert after.end is not None
        assert after.end.usage.completion_tokens == before.end.usage.completion_tokens
    assert len(front.engines) == 1
    assert len(steps.remembered()) == 1


async def test_stop_strings_and_limits_count_across_the_seam(front: Front, desk_guide: Path) -> None:
    client = await front.client()
    long = ask(desk_guide, sampling={**ENDLESS, "temperature": 0.0}, max_tokens=150)
    whole = await hear(client, long)
    at = next(at for at in range(200, len(whole.text)) if whole.text.index(whole.text[at : at + 8]) == at)
    stop = whole.text[at : at + 8]
    heard = await hurt(client, replace(long, stop=(stop,)), signal.SIGSEGV)
    assert heard.text == whole.text[:at]
    assert heard.end is not None
    assert heard.end.reason == "stop"
    limited = await hurt(client, replace(long, max_tokens=80), signal.SIGSEGV)
    assert limited.end is not None
    assert limited.end.reason == "length"
    assert limited.end.usage.completion_tokens == 80
    assert whole.text.startswith(limited.text)


async def test_seeds_and_grammars_go_on_where_they_were(front: Front, desk_guide: Path) -> None:
    client = await front.client()
    wild = {"temperature": 2.0, "seed": 11, "repeat_penalty": 1.1, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    sampled = ask(desk_guide, sampling={**ENDLESS, **wild})
    whole = await hear(client, sampled)
    assert (
        whole.text != (await hear(client, replace(sampled, sampling=replace(sampled.sampling, seed=12)))).text
    )
    # Evaluated at once, what was written gives its numbers a little otherwise: a far away token may be another.
    assert (await hurt(client, sampled, signal.SIGSEGV, after=20)).text[:80] == whole.text[:80]

    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 30}, "kind": {"enum": ["beacon", "tower"]}},
        "required": ["name", "kind"],
    }
    shaped = ask(desk_guide, sampling={"temperature": 0.0, "json_schema": schema}, max_tokens=200)
    heard = await hurt(client, shaped, signal.SIGSEGV, after=12)
    assert len(heard.changes) == 1
    answer = json.loads(heard.text)
    assert set(answer) == {"name", "kind"}
    assert answer["kind"] in {"beacon", "tower"}


async def test_other_programs_see_the_answer_alone(front: Front, desk_guide: Path) -> None:
    """A whole answer and a stream without our header, both cut by the same fault."""
    client = await front.client()
    # Long enough to be still written when the stream beside it has begun, however busy the machine is.
    endless = {**ENDLESS, "temperature": 0.0}
    expected = await hear(client, ask(desk_guide, sampling=endless, max_tokens=500))
    body: dict[str, Any] = {
        "model": str(desk_guide),
        "messages": ASKED,
        **endless,
        "max_tokens": 500,
    }
    headers = {"Authorization": f"Bearer {front.state.token}"}
    async with aiohttp.ClientSession(front.state.url, headers=headers) as http:

        async def whole() -> dict[str, Any]:
            async with http.post("/v1/chat/completions", json=body) as response:
                assert response.status == 200
                return dict(await response.json())

        asked = asyncio.create_task(whole())
        while (loaded := (await client.status()).model(str(desk_guide))) is None or not loaded.active:
            await asyncio.sleep(0.005)
        async with http.post("/v1/chat/completions", json={**body, "stream": True}) as response:
            lines = response.content
            seen = b""
            while seen.count(b"data:") < 3:
                seen += await lines.readline()
            assert not asked.done()
            await end_engine(client, str(desk_guide), signal.SIGSEGV)
            seen += await lines.read()
        answer = await asked
    assert answer["choices"][0]["message"]["content"] == expected.text
    assert expected.end is not None
    assert answer["usage"]["completion_tokens"] == expected.end.usage.completion_tokens
    assert b"event:" not in seen
    chunks = [json.loads(line[6:]) for line in seen.splitlines() if line.startswith(b"data: {")]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == expected.text
    assert sum("role" in chunk["choices"][0]["delta"] for chunk in chunks) == 1


async def test_a_model_that_no_step_helps_is_decoded_and_remembered_nowhere(
    front: Front, desk_guide: Path, steps: SafeSteps
) -> None:
    client = await front.client()
    endless = ask(desk_guide, sampling=ENDLESS, max_tokens=0)
    steps_of_this_build = len(installed_ladder(gpu_layers=-1, flash_attention=True))
    deaths = (signal.SIGSEGV,) * steps_of_this_build
    with pytest.raises(SlmDeskError) as caught:
        await hear(client, endless, hurt=deaths)
    assert caught.value.code == "engine_crashed"
    assert steps.remembered() == []
    # One more death within a minute, and it is not started again; there are no more steps for it.
    heard = await hear(client, ask(desk_guide))
    assert heard.changes == []
    with pytest.raises(SlmDeskError) as caught:
        await hurt(client, endless, signal.SIGSEGV)
    assert caught.value.code == "engine_crashed"
    with pytest.raises(SlmDeskError) as caught:
        await hear(client, endless)
    assert caught.value.code == "engine_keeps_failing"
    assert steps.remembered() == []


async def test_what_others_do_to_an_engine_is_no_reason_for_a_step(
    front: Front, desk_guide: Path, steps: SafeSteps
) -> None:
    client = await front.client()
    with pytest.raises(SlmDeskError) as caught:
        await hear(client, ask(desk_guide, sampling=ENDLESS, max_tokens=0), hurt=(signal.SIGKILL,))
    assert caught.value.code == "engine_killed"
    heard = await hear(client, ask(desk_guide))
    assert heard.changes == []
    assert steps.remembered() == []


async def test_an_update_tries_everything_anew(
    front: Front, desk_guide: Path, steps: SafeSteps, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps.remember_model(
        "a model", ModelFile.of(desk_guide), "no_flash_attention", SlmDeskError("x", "It failed.")
    )
    assert steps.step_for(ModelFile.of(desk_guide)) == "no_flash_attention"
    driver = tmp_path / "driver.json"
    driver.write_text('{"ICD": {"library_path": "libvulkan_new.so", "api_version": "1.4.0"}}')
    monkeypatch.setenv("VK_DRIVER_FILES", str(driver))
    assert safe_steps_in(front.paths.data).step_for(ModelFile.of(desk_guide)) == "all"
