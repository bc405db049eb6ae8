"""`slmdesk tools` from the outside, with a keyring and a server that are real."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .conftest import Program

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "tests" / "tools" / "mcp_server.py"


def test_a_server_is_added_checked_turned_off_and_removed(program: Program, tmp_path: Path) -> None:
    keyring = tmp_path / "keyring.json"
    env = {
        "SLMDESK_TEST_KEYRING": str(keyring),
        "PYTHON_KEYRING_BACKEND": "tests.file_keyring.FileKeyring",
        "PYTHONPATH": str(ROOT),
    }
    added = program.run(
        "tools", "add", "mine", "--env", "MY_API_KEY", "--run", sys.executable, str(SERVER), "stdio",
        stdin="a-secret-of-mine\n", env=env,
    )  # fmt: skip
    assert added.code == 0, added.err
    assert (
        "a-secret-of-mine" not in added.out + added.err + (program.home / "config" / "tools.json").read_text()
    )
    assert json.loads(keyring.read_text()) == {"SLM Desk/tools:mine:env:MY_API_KEY": "a-secret-of-mine"}
    pasted = json.dumps({"mcpServers": {"gone": {"command": str(tmp_path / "no-such-program")}}})
    assert program.run("tools", "add", "--json", stdin=pasted, env=env).result["servers"][0]["name"] == "gone"
    checked = program.run("tools", "check", "mine", env=env)
    assert "“mine” works: Test tools 1.2" in checked.out
    assert "Adds two whole numbers." in checked.out
    failed = program.run("tools", "check", "gone", "--json", env=env)
    assert (failed.code, failed.error["code"]) == (1, "tool_server_failed")
    program.run("tools", "off", "gone", env=env)
    listed = program.run("tools", "--json", env=env).result
    assert [(server["name"], server["enabled"]) for server in listed["servers"]] == [
        ("mine", True),
        ("gone", False),
    ]
    assert {tool["name"] for tool in listed["tools"]} == {"calculator", "current_time", "read_file"}
    assert program.run("tools", "rm", "mine", "--json", env=env).result == {"removed": "mine"}
    assert json.loads(keyring.read_text()) == {}
    program.run("tools", "rm", "gone", env=env)
    assert "slmdesk tools add" in program.run("tools", env=env).err


def test_usage_of_tools(program: Program) -> None:
    for words in (
        ("add", "x"),
        ("add", "x", "--url", "https://a/mcp", "--run", "npx"),
        ("check",),
        ("list", "--url", "https://a"),
        ("add", "x", "--url", "https://a", "--header", ":b"),
        ("fly", "x"),
    ):
        assert program.run("tools", *words, "--json").error["code"] == "usage"
    wrong = program.run("tools", "add", "--json", stdin="what?")
    assert wrong.error["code"] == "tool_server_invalid"
