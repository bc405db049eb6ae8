"""Faults that come back with every try: a real library, preloaded into the engine, that fails as hardware does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.safe_steps import ModelFile, safe_steps_in
from slmdesk.inference.answers import EngineChanged, Stop
from slmdesk.serving.client import ServiceClient
from tests.asking import chatting
from tests.faulty import faulty_environment
from tests.random_models import generator
from tests.serving.conftest import Front, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD")


@pytest.fixture(scope="module")
def repacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose weights (Q4_0) the processor keeps in an order of its own."""
    models = generator()
    file = tmp_path_factory.mktemp("repacked") / "repacked.gguf"
    return Path(models.random_llama_gguf(file, models.TINY, quant="Q4_0"))


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From now on engines fail in this way."""

    def begin(kind: str) -> None:
        for name, value in faulty_environment(kind).items():
            monkeypatch.setenv(name, value)

    return begin


async def answer(client: ServiceClient, model: Path) -> tuple[str, list[str]]:
    """A greedy answer of 24 tokens: its text and what was changed for it."""
    request = chatting(
        str(model), [{"role": "user", "content": "a b c"}], {"temperature": 0.0}, max_tokens=24
    )
    text, changes, end = "", [], None
    async with aclosing(client.ask(request)) as events:
        async for event in events:
            match event:
                case str():
                    text += event
                case EngineChanged():
                    changes.append(event.text)
                case Stop():
                    end = event
    assert end is not None
    assert end.usage.completion_tokens == 24
    return text, changes


async def restarted(front: Front) -> ServiceClient:
    """Another service in the same home."""
    state = front.state
    client = await front.client()
    await client.shutdown()
    until(lambda: not state.alive, "the end of the service")
    front.connector.forget()
    return await front.client()


async def test_extra_buffers_that_fail_are_left_out_from_then_on(
    front: Front, repacked: Path, fault: Callable[[str], None]
) -> None:
    fault("repack")
    client = await front.client()
    text, changes = await answer(client, repacked)
    assert len(changes) == 1
    assert "extra buffers" in changes[0]
    steps = safe_steps_in(front.paths.data)
    assert steps.step_for(ModelFile.of(repacked)) == "no_extra_buffers"

    client = await restarted(front)
    assert await answer(client, repacked) == (text, [])

    steps.forget_all()
    _, changes = await answer(await restarted(front), repacked)  # tried anew, and it fails as before
    assert len(changes) == 1


@pytest.mark.slow
async def test_it_goes_on_down_until_a_step_helps(
    front: Front, desk_guide: Path, repacked: Path, fault: Callable[[str], None]
) -> None:
    fault("flash")
    client = await front.client()
    _, changes = await answer(client, repacked)
    assert [("buffers" in change, "flash attention" in change) for change in changes] == [
        (True, False),
        (False, True),
    ]
    steps = safe_steps_in(front.paths.data)
    assert steps.step_for(ModelFile.of(repacked)) == "no_flash_attention"
    assert steps.machine_step() == "all"
    # A second model needs it as well: it is the machine's.
    _, changes = await answer(client, desk_guide)
    assert len(changes) == 2
    assert steps.machine_step() == "no_flash_attention"


async def test_a_fault_of_loading_is_stepped_around_and_said(
    front: Front, repacked: Path, fault: Callable[[str], None]
) -> None:
    fault("load")
    client = await front.client()
    _, changes = await answer(client, repacked)
    assert len(changes) == 1
    assert safe_steps_in(front.paths.data).step_for(ModelFile.of(repacked)) == "no_extra_buffers"
    assert (await answer(client, repacked))[1] == []


@pytest.mark.slow
async def test_a_fault_that_no_step_mends_is_nobody_elses_burden(
    front: Front, repacked: Path, desk_guide: Path, fault: Callable[[str], None]
) -> None:
    fault("always")
    client = await front.client()
    with pytest.raises(SlmDeskError) as caught:
        await answer(client, repacked)
    assert caught.value.code == "engine_crashed"
    steps = safe_steps_in(front.paths.data)
    assert steps.remembered() == []
    assert steps.step_for(ModelFile.of(desk_guide)) == "all"
