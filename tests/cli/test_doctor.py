from __future__ import annotations

import pytest

from .conftest import Program


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
    for name in ("llama-cpp-python", "PySide6-Essentials", "SLM Desk", "Python"):
        assert checks["Program", name]["text"]
    assert [event["check"] for event in result.events if event["event"] == "check"] == list(checks.values())


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


@pytest.mark.parametrize("secret", ["hf_abcdefghijklmnop"])
def test_no_secret_is_told(program: Program, secret: str) -> None:
    result = program.run("doctor", "--no-model", "--json", env={"HF_TOKEN": secret})
    assert secret not in result.out + result.err
