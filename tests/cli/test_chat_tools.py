"""`slmdesk chat --tools` from the outside: a real model is held to a call, and a person says whether it is made."""

from __future__ import annotations

from pathlib import Path

from .conftest import Program

QUESTION = ("-p", "What is 17 * 23?", "--temperature", "0", "--max-tokens", "40")
CALCULATOR = ("--tools", "calculator", "--call", "calculator")


def test_a_call_is_asked_for_and_made(program: Program, smollm2: Path) -> None:
    asked = program.run("chat", str(smollm2), *QUESTION, *CALCULATOR, "--json", stdin="y\n")
    assert asked.code == 0, asked.out
    calls = [event["call"] for event in asked.events if event["event"] == "call"]
    assert [call["state"] for call in calls] == ["asked", "running", "done"]
    assert calls[0]["arguments"] == '{"expression": "17 * 23"}'
    assert (calls[0]["key"], calls[-1]["result"]) == ("built-in/calculator", "391")
    assert "391" in asked.result["text"]


def test_no_answer_is_a_refusal(program: Program, smollm2: Path) -> None:
    for stdin in ("", "what?\nno\n"):
        refused = program.run("chat", str(smollm2), *QUESTION, *CALCULATOR, stdin=stdin)
        assert refused.code == 0, refused.err
        assert "wants to call “calculator”" in refused.err
        assert '"expression": "17 * 23"' in refused.err
        assert "was refused" in refused.err


def test_without_asking_with_a_picked_file(program: Program, smollm2: Path, tmp_path: Path) -> None:
    poem = tmp_path / "poem.txt"
    poem.write_text("Whose woods these are I think I know.\n")
    done = program.run(
        "chat", str(smollm2), "-p", "What does the file say?", "--tool-file", str(poem), "--call", "read_file", "--yes",
        "--temperature", "0", "--max-tokens", "40", "--json",
    )  # fmt: skip
    assert done.code == 0, done.out
    [end] = [event["call"] for event in done.events if event.get("call", {}).get("state") == "done"]
    assert "Whose woods" in end["result"]
    for wrong in (("--tools", "weather"), ("--tool-file", str(tmp_path / "none"))):
        error = program.run("chat", str(smollm2), "-p", "x", *wrong, "--json").error
        assert error["code"] in {"tool_unknown", "file_missing"}
