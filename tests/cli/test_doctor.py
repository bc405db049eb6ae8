from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from slmdesk.core import cores
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.safe_steps import ModelFile, safe_steps_in
from slmdesk.engines.self_test_outcome import BOUNDS
from tests.engines import gpus
from tests.faulty import faulty_environment

from .conftest import Program, end_service


def test_a_healthy_program(shared: Program) -> None:
    result = shared.run("doctor", "--json", env={"QT_QPA_PLATFORM": "offscreen"})
    checks = {(check["group"], check["name"]): check for check in result.result["checks"]}
    failed = [check for check in checks.values() if check["state"] == "failed"]
    assert (result.code, failed) == (0, [])
    assert result.result["ok"] is True
    runtime = checks["Models", "model runtime"]
    assert runtime["state"] == "ok"
    assert "tokens at" in runtime["text"]
    assert runtime["details"].strip()  # the words it wrote
    assert checks["Storage", "database"]["state"] == "ok"
    assert checks["Folders", "models"]["text"].startswith(str(shared.home))
    threads = checks["Machine", "model threads"]["text"]
    assert threads.startswith(f"{cores.model_threads()}, ")
    for name in ("llama-cpp-python", "PySide6-Essentials", "SLM Desk", "Python"):
        assert checks["Program", name]["text"]
    assert [event["check"] for event in result.events if event["event"] == "check"] == list(checks.values())


def test_the_self_test_tells_each_kind_of_weights(program: Program) -> None:
    before = program.run("doctor", "--no-model", "--json")
    texts = {check["name"]: check["text"] for check in before.result["checks"]}
    assert texts["self-test"].startswith("not made yet")
    assert before.result["self_test"] is None

    result = program.run("doctor", "--no-model", "--self-test", "--json")
    checks = {check["name"]: check for check in result.result["checks"] if check["group"] == "Self-test"}
    assert set(checks) == {*BOUNDS, "self-test"}
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert re.fullmatch(r"error \d\.\d%, at most 8% is right, \d+\.\d\d s", checks["Q4_K"]["text"])
    told = result.result["self_test"]
    assert (told["holds"], told["step"]) == (True, "all")
    (step,) = told["steps"]
    for family in step["families"]:
        assert family["verdict"] == "right"
        assert 0 < family["error"] < family["bound"]
        assert family["seconds"] > 0

    after = program.run("doctor", "--no-model")
    assert f"all {len(BOUNDS)} kinds of weights give the right numbers (" in after.out


def test_a_chosen_number_of_threads_is_told(program: Program) -> None:
    result = program.run("doctor", "--no-model", "--json", env={"SLMDESK_ENGINE_THREADS": "3"})
    texts = {check["name"]: check["text"] for check in result.result["checks"]}
    assert texts["model threads"] == "3, set in engine.threads"


def test_what_is_broken_is_named(program: Program) -> None:
    data = program.home / "data"
    data.mkdir(parents=True)
    (data / "slmdesk.sqlite3").write_bytes(b"this is no database" * 100)
    (program.home / "cache").write_text("a file where a folder should be")
    result = program.run("doctor", "--no-model", env={"SLMDESK_CHAT_TEMPERATURE": "warm"})
    assert result.code == 1
    assert "checks failed: " in result.out
    last = result.out.splitlines()[-1]
    assert "database" in last
    assert "cache" in last
    assert "SLMDESK_CHAT_TEMPERATURE" in result.out
    assert "Traceback" not in result.out + result.err


@pytest.mark.usefixtures("no_real_gpu")
@pytest.mark.parametrize("mode", ["lists", "crashes"])
def test_gpus_are_listed_and_a_broken_driver_is_named(program: Program, mode: str) -> None:
    gpus.add_part(program.home / "data" / "backends")
    env = {"STAND_IN_DRIVER": mode, "QT_QPA_PLATFORM": "offscreen"}
    result = program.run("doctor", "--no-model", "--json", env=env)
    checks = {(check["group"], check["name"]): check for check in result.result["checks"]}
    assert result.code == 0
    if mode == "lists":
        found = checks["Machine", "StandIn0"]
        assert (found["state"], found["text"]) == ("ok", "Stand-in GPU (StandIn), 8.0 GB, 6.0 GB free")
    else:
        found = checks["Machine", "GPU"]
        assert found["state"] == "warning"
        assert "graphics driver" in found["text"]
        assert "run on the processor" in found["hint"]
        assert "exit status" in found["details"]
    assert checks["Machine", "memory"]["text"]


@pytest.mark.parametrize("secret", ["hf_abcdefghijklmnop"])
def test_no_secret_is_told(program: Program, secret: str) -> None:
    result = program.run("doctor", "--no-model", "--json", env={"HF_TOKEN": secret})
    assert secret not in result.out + result.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD")
def test_a_safe_step_is_said_below_the_answer(program: Program, desk_guide: Path) -> None:
    question = ("chat", str(desk_guide), "-p", "What is a quant?", "--temperature", "0", "--max-tokens", "24")
    try:
        whole = program.run(*question)
        asyncio.run(end_service(program.home))
        asked = program.run(*question, env=faulty_environment("flash"))
        assert (asked.code, asked.out) == (0, whole.out)
        assert "went on without flash attention" in asked.err
        assert len(asked.err.splitlines()) == 1
    finally:
        asyncio.run(end_service(program.home))


def test_safe_steps_are_shown_and_forgotten(program: Program, desk_guide: Path) -> None:
    steps = safe_steps_in(program.home / "data")
    why = SlmDeskError("engine_crashed", "It stopped.", details="exit status -11")
    steps.remember_model("maker/small", ModelFile.of(desk_guide), "no_flash_attention", why)
    checks = program.run("doctor", "--no-model", "--json").result["checks"]
    [found] = [check for check in checks if check["name"] == "safe steps"]
    assert found["state"] == "warning"
    assert "maker/small runs without flash attention, since 20" in found["text"]
    assert "--forget-steps" in found["hint"]
    assert "-11" in found["details"]
    forgotten = program.run("doctor", "--forget-steps", "--json").result["forgotten"]
    assert forgotten == [{"step": "no_flash_attention", "scope": "model", "model": "maker/small"}]
    assert "nothing to forget" in program.run("doctor", "--forget-steps").out
