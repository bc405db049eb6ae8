"""Bad files, dead engines, wrong callers: every one a decoded error, never a hang."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import gguf
import psutil
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import self_command, start_child
from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.engines.host import start_engine
from slmdesk.engines.protocol import EngineSpec
from tests.asking import asking, spec_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[..., Awaitable[Any]]
StartEngine = Callable[..., Awaitable[Engine]]


async def _fails(path: Path, **spec: Any) -> SlmDeskError:
    with pytest.raises(SlmDeskError) as caught:
        await start_engine(spec_of(path, "test", **spec))
    error = caught.value
    assert error.message
    assert error.hint
    assert "exit" not in error.message
    return error


async def test_a_missing_file(tmp_path: Path) -> None:
    assert (await _fails(tmp_path / "nothing.gguf")).code == "file_missing"


async def test_not_a_gguf(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("This is a letter, not a model.\n" * 100)
    assert (await _fails(path)).code == "not_gguf"


async def test_a_truncated_gguf(tmp_path: Path, desk_guide: Path) -> None:
    path = tmp_path / "cut.gguf"
    data = desk_guide.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    error = await _fails(path)
    assert error.code == "gguf_truncated"


async def test_an_unknown_architecture(tmp_path: Path, desk_guide: Path) -> None:
    path = tmp_path / "strange.gguf"
    path.write_bytes(desk_guide.read_bytes().replace(b"llama", b"lamma"))
    error = await _fails(path)
    assert error.code == "architecture_unknown"
    assert "lamma" in error.message


async def test_a_tensor_of_another_name(tmp_path: Path, desk_guide: Path) -> None:
    path = tmp_path / "renamed.gguf"
    path.write_bytes(desk_guide.read_bytes().replace(b"blk.3.attn_k.weight", b"blk.3.attn_x.weight"))
    error = await _fails(path)
    assert error.code == "model_damaged"
    assert "blk.3.attn_k" in error.message


async def test_a_tensor_of_another_shape(tmp_path: Path, desk_guide: Path) -> None:
    path = tmp_path / "shape.gguf"
    data = desk_guide.read_bytes()
    name = b"blk.3.ffn_down.weight"
    shape = data.index(name) + len(name) + 4
    first, second = struct.unpack_from("<QQ", data, shape)
    path.write_bytes(data[:shape] + struct.pack("<QQ", second, first) + data[shape + 16 :])
    error = await _fails(path)
    assert error.code in {"model_damaged", "gguf_damaged"}


async def test_a_token_twice(tmp_path: Path, models: ModuleType) -> None:
    """llama.cpp ends the whole process over this; our own check says it first."""
    path = tmp_path / "twice.gguf"
    models.random_llama_gguf(path, models.TINY, quant="F16")
    data = path.read_bytes()
    length = struct.pack("<Q", 4)
    words = [length + "▁a".encode(), length + "▁b".encode()]
    assert all(data.count(word) == 1 for word in words)
    path.write_bytes(data.replace(words[0], words[1]))
    error = await _fails(path)
    assert error.code == "model_damaged"
    assert "twice" in error.message


async def test_a_model_too_large_for_memory(tmp_path: Path, desk_guide: Path) -> None:
    error = await _fails(desk_guide, context_length=2**30, parallel=1)
    assert error.code == "out_of_memory"
    assert "GB" in error.message


async def test_a_cache_type_the_model_cannot_use(models: ModuleType, tmp_path: Path) -> None:
    shape = models.Shape(
        layers=1, hidden=48, feed_forward=64, heads=2, kv_heads=1, vocabulary=400, context=256
    )
    path = models.random_llama_gguf(tmp_path / "odd.gguf", shape, quant="F16")
    error = await _fails(path, cache_type="q8_0")
    assert error.code == "spec_invalid"


async def test_an_engine_that_aborts_while_loading_is_decoded(tmp_path: Path) -> None:
    """A real abort in a child, with what llama.cpp's assertion prints."""
    program = (
        "import os, sys; sys.stdin.readline();"
        "os.write(2, b'llama-vocab.cpp:2094: GGML_ASSERT(id_to_token.size() == token_to_id.size()) failed\\n');"
        "os.abort()"
    )
    with pytest.raises(SlmDeskError) as caught:
        await start_engine(spec_of("some.gguf", "test"), command=[sys.executable, "-c", program])
    assert caught.value.code == "model_damaged"
    assert "GGML_ASSERT" in caught.value.details


async def test_a_kill_in_mid_answer_reaches_the_sink(start: StartEngine, ask: Ask, answer: Ask) -> None:
    engine = await start()
    heard = await ask(engine, "Go on", sampling={"seed": 2, "logit_bias": {"5": -100, "2": -100, "3": -100}})
    await heard.until(lambda h: len(h.texts) > 5)
    psutil.Process(engine.pid).kill()
    finished = await heard.end
    assert finished.reason == "error"
    assert finished.error is not None
    assert finished.error["code"] == ("engine_crashed" if sys.platform == "win32" else "engine_killed")
    assert heard.text
    error = await engine.died
    assert error is not None
    assert error.code == finished.error["code"]
    assert not engine.alive
    with pytest.raises(SlmDeskError) as caught:
        await ask(engine, "Hello?")
    assert caught.value.code == error.code
    again = await start()
    assert (await answer(again, "Hello"))[0]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_a_segmentation_fault_is_no_bare_number(start: StartEngine) -> None:
    engine = await start()
    os.kill(engine.pid, signal.SIGSEGV)
    error = await engine.died
    assert error is not None
    assert error.code == "engine_crashed"
    assert "11" not in error.message


async def test_stop_ends_the_process_and_its_answers(start: StartEngine, ask: Ask) -> None:
    engine = await start()
    heard = await ask(engine, "Go on", sampling={"seed": 2, "logit_bias": {"5": -100, "2": -100, "3": -100}})
    await heard.until(lambda h: len(h.texts) > 2)
    await engine.stop()
    assert (await heard.end).reason == "cancelled"
    assert not psutil.pid_exists(engine.pid)
    assert engine.died.result() is None


async def _run_engine(spec: EngineSpec) -> Any:
    child = await start_child(self_command("engine"))
    child.stdin.write(json.dumps(spec.to_json()).encode() + b"\n")
    await child.stdin.drain()
    return child


async def test_the_engine_ends_when_stdin_closes_in_mid_answer(slow: Path) -> None:
    child = await _run_engine(spec_of(slow, "test", token="t", context_length=8192))
    while (event := json.loads(await child.stdout.readline()))["event"] != "ready":
        pass
    prompt = {"key": 1, "ask": {"prompt": "lorem ipsum dolor " * 400}}
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer t"}) as http:
        async with http.post(f"http://127.0.0.1:{event['port']}/generate", json=prompt) as response:
            assert response.status == 200
        child.stdin.close()
        assert await asyncio.wait_for(child.wait(), 20) == 0


async def test_the_engine_ends_when_stdin_closes_in_mid_load(desk_guide: Path) -> None:
    child = await _run_engine(spec_of(desk_guide, "test"))
    child.stdin.close()
    assert await asyncio.wait_for(child.wait(), 30) == 0


async def test_stdout_holds_json_lines_only(desk_guide: Path) -> None:
    child = await _run_engine(spec_of(desk_guide, "test"))
    events: list[Any] = []
    while not events or events[-1]["event"] != "ready":
        events.append(json.loads(await child.stdout.readline()))
    child.stdin.close()
    assert await child.stdout.read() == b""
    await child.wait()
    fractions = [event["fraction"] for event in events[:-1]]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[]\n",
        b'{"model_path": 7, "model_id": "x"}\n',
        b'{"model_id": "x"}\n',
        b'{"model_path": "a", "model_id": "x", "loading": {"threads": "many"}}\n',
        b'{"model_path": "a", "model_id": "x", "loading": {"cache_type": "q3"}}\n',
    ],
)
async def test_a_spec_that_cannot_be_read(line: bytes) -> None:
    child = await start_child(self_command("engine"))
    child.stdin.write(line)
    event = json.loads(await child.stdout.readline())
    assert event["event"] == "error"
    assert event["error"]["code"] == "spec_invalid"
    assert await child.wait() == 1


async def test_a_cancelled_start_leaves_no_process(desk_guide: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    task = asyncio.create_task(start_engine(spec_of(desk_guide, "test")))
    while {child.pid for child in psutil.Process().children(recursive=True)} == before:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before


async def test_a_metadata_only_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Nothing")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert (await _fails(path)).code in {"model_damaged", "gguf_damaged", "gguf_no_weights"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[1]", 400),
        (b"{}", 400),
        (b'{"key": "a", "ask": {"prompt": "x"}}', 400),
        (b'{"key": 1}', 400),
        (b'{"key": 1, "ask": {}}', 400),
        (b'{"key": 1, "ask": {"prompt": "x", "turns": [{"role": "user"}]}}', 400),
        (b'{"key": 1, "ask": {"turns": []}}', 400),
        (b'{"key": 1, "ask": {"turns": ["x"]}}', 400),
        (b'{"key": 1, "ask": {"turns": [{"role": 1}]}}', 400),
        (b'{"key": 1, "ask": {"turns": [{"role": "user", "parts": [{"text": "x"}]}]}}', 400),
        (b'{"key": 1, "ask": {"prompt": "x", "max_tokens": -1}}', 400),
        (b'{"key": 1, "ask": {"prompt": "x", "stop": [1]}}', 400),
        (b'{"key": 1, "ask": {"prompt": "x", "sampling": []}}', 400),
        (b'{"key": 1, "ask": {"prompt": "x", "sampling": {"top_k": "many"}}}', 400),
        (b'{"key": 1, "ask": {"prompt": ""}}', 400),
        (b'{"key": 1, "ask": {"prompt": 5}}', 400),
        (b"\xff\xfe", 400),
    ],
)
async def test_requests_that_make_no_sense(engine: Engine, body: bytes, status: int) -> None:
    url = f"http://127.0.0.1:{engine.port}/generate"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {engine.spec.token}"}) as http,
        http.post(url, data=body) as response,
    ):
        assert response.status == status
        error = (await response.json())["error"]
        assert error["code"] == "bad_request"
        assert error["message"]


@pytest.mark.parametrize("path", ["/events", "/status", "/generate", "/nowhere"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "wrong"}])
async def test_a_wrong_token_is_turned_away(engine: Engine, path: str, headers: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{engine.port}{path}"
    async with aiohttp.ClientSession(headers=headers) as http:
        for call in (http.get(url), http.post(url, data=b"{}")):
            async with call as response:
                assert response.status == 401
                assert (await response.json())["error"]["code"] == "unauthorized"


async def test_the_event_stream_speaks_http_1_1_too(desk_guide: Path) -> None:
    child = await _run_engine(spec_of(desk_guide, "test", token="t"))
    while (event := json.loads(await child.stdout.readline()))["event"] != "ready":
        pass
    base = f"http://127.0.0.1:{event['port']}"
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer t"}) as http,
        http.get(f"{base}/events") as events,
    ):
        body = {"key": 5, "ask": {"prompt": "Hello", "max_tokens": 4}}
        async with http.post(f"{base}/generate", json=body) as response:
            assert (await response.json())["prompt_tokens"] >= 1
        ends: list[Any] = []
        while not ends:
            texts, ends = json.loads(await events.content.readline())
            assert all(key == 5 and isinstance(text, str) and token >= 0 for key, text, token in texts)
        assert ends[0][0] == 5
        assert ends[0][1]["usage"]["completion_tokens"] <= 4
    child.stdin.close()
    assert await child.wait() == 0


async def test_a_template_that_refuses_the_messages(engine: Engine) -> None:
    request = asking("t", messages=[{"role": "user", "content": "x"}], template_options={"messages": 3})
    with pytest.raises(SlmDeskError):
        await engine.submit(request, lambda _piece: None)
