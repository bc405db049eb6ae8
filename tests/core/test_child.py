"""What parent and child say to each other, with real processes."""

from __future__ import annotations

import sys
from contextlib import aclosing

import pytest

from slmdesk.core.child import SpokenChild
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import process_alive

# A child of ours: says what it was told, prints as native code does, then does what the spec says.
CHILD = """
import json, os, sys, time
from slmdesk.core.child import begin, defect, reported

line, tell = begin()
spec = json.loads(line)

def work():
    print("printed by native code", flush=True)
    tell({"event": "progress", "done": 1, "said": spec["say"]})
    if spec["then"] == "refuse":
        from slmdesk.core.errors import SlmDeskError
        raise SlmDeskError("model_damaged", "It is damaged.", "Download it again.", details="offset 7")
    if spec["then"] == "break":
        {}["missing"]
    if spec["then"] == "die":
        sys.stderr.write("last words\\n"); sys.stderr.flush()
        os._exit(9)
    if spec["then"] == "wait":
        time.sleep(600)
    tell({"event": "result", "result": spec["say"].upper()})

sys.exit(reported(work, tell, lambda error: defect("quantizer_crashed", "The child stopped", error)))
"""


async def started(then: str) -> SpokenChild:
    spec = f'{{"say": "hörbar", "then": "{then}"}}'.encode()
    return await SpokenChild.start([sys.executable, "-P", "-c", CHILD], spec)


async def heard(child: SpokenChild, silence: float | None = None) -> list[dict[str, object]]:
    async with aclosing(child.events(lambda: silence)) as said:
        return [event async for event in said]


async def test_events_come_in_order_and_what_native_code_prints_is_none() -> None:
    child = await started("")
    assert await heard(child) == [
        {"event": "progress", "done": 1, "said": "hörbar"},
        {"event": "result", "result": "HÖRBAR"},
    ]
    assert await child.wait() == 0
    assert child.tail == ["printed by native code"]
    await child.end()


async def test_an_error_is_raised_with_all_its_words() -> None:
    child = await started("refuse")
    with pytest.raises(SlmDeskError) as caught:
        await heard(child)
    error = caught.value
    assert (error.code, error.message, error.hint, error.details) == (
        "model_damaged",
        "It is damaged.",
        "Download it again.",
        "offset 7",
    )
    assert await child.wait() == 1
    await child.end()


async def test_a_defect_becomes_words_with_its_traceback() -> None:
    child = await started("break")
    with pytest.raises(SlmDeskError) as caught:
        await heard(child)
    assert caught.value.code == "quantizer_crashed"
    assert caught.value.message == "The child stopped because of a defect: 'missing'."
    assert "in work" in caught.value.details
    await child.end()


async def test_a_child_that_dies_leaves_its_status_and_its_last_words() -> None:
    child = await started("die")
    assert [event["event"] for event in await heard(child)] == ["progress"]
    assert await child.wait() == 9
    assert child.tail[-1] == "last words"
    await child.end()


async def test_silence_is_told_and_the_child_can_be_ended() -> None:
    child = await started("wait")
    events = child.events(lambda: None)
    assert (await anext(events))["event"] == "progress"
    await events.aclose()
    with pytest.raises(TimeoutError):
        await heard(child, 0.2)
    await child.end()
    assert not process_alive(child.process.pid)
