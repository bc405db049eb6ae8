"""`slmdesk serve` from the outside: a port of its own, a ready line, an answer, an end by Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from .conftest import Program


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send to another process")
def test_serve_answers_other_programs_until_ctrl_c(program: Program) -> None:
    child = subprocess.Popen(
        program.command("serve", "--json", "--port", "0", "--model", "slmdesk/desk-guide"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=program.environment(),
    )
    assert child.stdout is not None
    try:
        for line in child.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                break
        else:
            pytest.fail("it ended without being ready")
        assert event["result"]["pid"] == child.pid
        body = {
            "model": "slmdesk/desk-guide",
            "messages": [{"role": "user", "content": "What is a quant?"}],
            "max_tokens": 8,
        }
        request = urllib.request.Request(
            event["result"]["url"] + "/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert answer["choices"][0]["message"]["content"]
        # The command line uses the same service.
        used = program.run("chat", "-p", "What is a quant?", "--json")
        assert used.code == 0
        assert not [e for e in used.events if e["event"] == "loading"]
    finally:
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert json.loads(out.splitlines()[-1])["event"] == "error"
    assert "Traceback" not in err


def test_usage(program: Program) -> None:
    result = program.run("serve", "--port", "http", "--json")
    assert (result.code, result.error["code"]) == (2, "usage")
