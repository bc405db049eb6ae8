"""`slmdesk chat` asked one thing, as programs and pipes use it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Program

QUESTION = "What is Q4_K_M?"
GREEDY = ("--temperature", "0")


def test_one_question_as_events(shared: Program) -> None:
    result = shared.run("chat", "-p", QUESTION, "--json", *GREEDY)
    assert (result.code, result.err) == (0, "")
    answer = result.result
    texts = [event["text"] for event in result.events if event["event"] == "text"]
    assert answer["text"] == "".join(texts) != ""
    assert len(texts) > 1  # it streams
    [started] = [event for event in result.events if event["event"] == "started"]
    assert answer["usage"]["prompt_tokens"] == started["prompt_tokens"] > 0
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["timings"]["tokens_per_s"] > 0
    assert answer["model"] == "slmdesk/desk-guide"
    assert answer["reason"] == "stop"
    assert answer["conversation"] is None
    assert all(0 <= event["fraction"] <= 1 for event in result.events if event["event"] == "loading")


def test_one_question_as_text(shared: Program) -> None:
    result = shared.run("chat", "-p", QUESTION, *GREEDY)
    expected = shared.run("chat", "-p", QUESTION, *GREEDY, "--json").result["text"]
    assert (result.code, result.out, result.err) == (0, expected + "\n", "")


def test_what_a_model_thinks_aloud_is_no_part_of_the_answer(shared: Program, thinker: Path) -> None:
    ask = ("chat", str(thinker), "-p", QUESTION, *GREEDY, "--max-tokens", "12")
    result = shared.run(*ask, "--json")
    assert result.result["text"] == ""
    assert len(result.result["reasoning"]) > 10
    told = "".join(event["text"] for event in result.events if event["event"] == "reasoning")
    assert told.strip() == result.result["reasoning"]
    assert not any(event["event"] == "text" for event in result.events)
    plain = shared.run(*ask)
    assert (plain.out, plain.err) == ("", "The model thought aloud and came to no answer.\n")


def test_an_answer_is_held_to_a_schema_and_sampled_as_asked(shared: Program, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": ["Q4_K_M", "Q8_0"]}', encoding="utf-8")
    ask = ("chat", "-p", QUESTION, "--json", "--schema", str(schema))
    result = shared.run(
        *ask, "--temperature", "2", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", "7"
    )
    assert json.loads(result.result["text"]) in {"Q4_K_M", "Q8_0"}
    schema.write_text('{"enum": [', encoding="utf-8")
    refused = shared.run(*ask)
    assert refused.code == 1
    assert refused.events[-1]["error"]["code"] == "schema_invalid"
    assert shared.run("chat", "-p", QUESTION, "--schema", str(tmp_path / "none.json")).code == 1
    wrong = shared.run("chat", "-p", QUESTION, "--top-p", "3")
    assert (wrong.code, "from 0 to 1" in wrong.err) == (2, True)


@pytest.mark.slow
def test_a_model_without_a_chat_template_answers_and_says_so(program: Program, gemma: Path) -> None:
    ask = ("chat", str(gemma), "-p", "What is the capital of France?", *GREEDY)
    result = program.run(*ask, "--json")
    assert result.result["text"] == "The capital of France is Paris."
    assert (result.result["reason"], result.result["chat_form"]) == ("stop", "plain dialogue")
    said = program.run(*ask)
    assert said.out == "The capital of France is Paris.\n"
    assert "no chat template" in said.err
    program.run("stop")


def test_piped_input_is_the_question(shared: Program) -> None:
    expected = shared.run("chat", "-p", QUESTION, *GREEDY).out
    assert shared.run("chat", *GREEDY, stdin=QUESTION).out == expected
    assert shared.run("chat", "-p", "-", *GREEDY, stdin=QUESTION).out == expected
    # Without a command and without a display it is the same chat.
    result = shared.run(stdin=QUESTION, env={"SLMDESK_CHAT_TEMPERATURE": "0"})
    assert result.out == expected
    assert result.err.startswith("No display here")


def test_a_question_on_the_line_does_not_wait_for_stdin(shared: Program) -> None:
    # A pipe nobody closes, as a program that starts this one may leave it.
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            shared.command("chat", "-p", QUESTION),
            stdin=reading,
            capture_output=True,
            env=shared.environment(),
            timeout=60,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert done.returncode == 0
    assert done.stdout.strip()


def test_options_reach_the_model(shared: Program) -> None:
    short = shared.run("chat", "-p", QUESTION, "--json", *GREEDY, "--max-tokens", "3").result
    assert short["usage"]["completion_tokens"] == 3
    assert short["reason"] == "length"
    wild = ("chat", "-p", QUESTION, "--json", "--temperature", "2", "--max-tokens", "20")
    free = {"SLMDESK_CHAT_TOP_K": "0", "SLMDESK_CHAT_TOP_P": "1", "SLMDESK_CHAT_MIN_P": "0"}
    first = shared.run(*wild, "--seed", "11", env=free).result["text"]
    assert shared.run(*wild, "--seed", "11", env=free).result["text"] == first
    assert shared.run(*wild, "--seed", "12", env=free).result["text"] != first
    plain = shared.run("chat", "-p", QUESTION, "--json", *GREEDY).result["usage"]["prompt_tokens"]
    system = shared.run("chat", "-p", QUESTION, "--json", *GREEDY, "--system", "Be short.")
    assert system.result["usage"]["prompt_tokens"] > plain


def test_the_context_length_is_for_one_run(shared: Program) -> None:
    usual = shared.run("chat", "-p", QUESTION, "--json", *GREEDY).result["context_length"]
    short = shared.run("chat", "-p", QUESTION, "--json", *GREEDY, "--context", "512").result
    assert short["context_length"] == 512 != usual
    refused = shared.run("chat", "-p", "quant " * 600, "--json", "--context", "512")
    assert (refused.code, refused.error["code"]) == (1, "context_exceeded")
    assert "512" in refused.error["message"] + refused.error["hint"]
    assert shared.run("chat", "-p", QUESTION, "--json", *GREEDY).result["context_length"] == usual


def test_a_path_is_a_model(shared: Program, desk_guide: Path) -> None:
    expected = shared.run("chat", "-p", QUESTION, *GREEDY).out
    assert shared.run("chat", str(desk_guide), "-p", QUESTION, *GREEDY).out == expected
    copy = shared.home / "My Model é.gguf"
    shutil.copy(desk_guide, copy)
    done = subprocess.run(
        shared.command("chat", copy.name, "-p", QUESTION, *GREEDY),
        cwd=shared.home,  # a relative path means the folder the person is in
        capture_output=True,
        env=shared.environment(),
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout.decode()) == (0, expected)


def test_wrong_models_are_decoded(shared: Program, desk_guide: Path) -> None:
    damaged = shared.home / "damaged.gguf"
    damaged.write_bytes(desk_guide.read_bytes()[:100_000])
    text = shared.home / "text.gguf"
    text.write_text("this is no model")
    for model, code in (
        (str(damaged), "gguf_truncated"),
        (str(text), "not_gguf"),
        (str(shared.home / "missing.gguf"), "model_not_found"),
        ("slmdesk/desk-gide", "model_not_found"),
    ):
        result = shared.run("chat", model, "-p", QUESTION, "--json")
        assert (result.code, result.error["code"]) == (1, code)
        assert result.error["hint"]
        human = shared.run("chat", model, "-p", QUESTION)
        assert (human.code, human.out) == (1, "")
        assert human.err == f"error: {result.error['message']}\n{result.error['hint']}\n"
    assert "slmdesk/desk-guide" in shared.run("chat", "slmdesk/desk-gide", "-p", "x").err


def test_usage(program: Program) -> None:
    for words in (
        ("chat", "-p", "x", "--temperature", "9"),
        ("chat", "-p", "x", "--max-tokens", "many"),
        ("chat", "-p", "  "),
        ("chat", "-p", "x", "--save", "--no-save"),
        ("chat", "slmdesk/desk-guide", "--conversation", "1", "-p", "x"),
    ):
        result = program.run(*words, "--json")
        assert (result.code, result.error["code"]) == (2, "usage"), words
    assert "from 0 to 2" in program.run("chat", "-p", "x", "--temperature", "9").err


def test_one_shots_are_kept_only_when_asked(shared: Program) -> None:
    assert shared.run("chat", "-p", "Not to be kept", *GREEDY).code == 0
    kept = shared.run("chat", "-p", "Please keep this", *GREEDY, "--save", "--json").result
    more = shared.run(
        "chat", "-p", "And more", *GREEDY, "--json", "--conversation", str(kept["conversation"])
    )
    assert more.result["conversation"] == kept["conversation"]
    assert more.result["usage"]["prompt_tokens"] > kept["usage"]["prompt_tokens"]
    connection = sqlite3.connect(shared.database)
    try:
        texts = [row[0] for row in connection.execute("SELECT text FROM messages ORDER BY id")]
    finally:
        connection.close()
    assert texts == ["Please keep this", kept["text"], "And more", more.result["text"]]
    unknown = shared.run("chat", "-p", "x", "--conversation", "999", "--json")
    assert (unknown.code, unknown.error["code"]) == (1, "conversation_not_found")


def test_a_locked_or_damaged_database_does_not_stop_a_question(shared: Program) -> None:
    kept = shared.database.read_bytes() if shared.database.exists() else None
    shared.database.parent.mkdir(parents=True, exist_ok=True)
    for side in ("-wal", "-shm"):
        shared.database.with_name(shared.database.name + side).unlink(missing_ok=True)
    shared.database.write_bytes(b"this is no database" * 100)
    try:
        assert shared.run("chat", "-p", QUESTION).code == 0
        result = shared.run("chat", "-p", QUESTION, "--save", "--json")
        assert (result.code, result.error["code"]) == (1, "database_damaged")
    finally:
        shared.database.unlink()
        if kept is not None:
            shared.database.write_bytes(kept)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send to another process")
def test_ctrl_c_ends_a_one_shot_with_130(shared: Program, endless_model: Path) -> None:
    for words, ends_with in ((["--json"], '"interrupted"'), ([], "")):
        child = subprocess.Popen(
            shared.command("chat", str(endless_model), "-p", QUESTION, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=shared.environment(),
        )
        assert child.stdout is not None
        assert child.stderr is not None
        seen = b""
        while len(seen) < 400:
            data = os.read(child.stdout.fileno(), 400)
            assert data, child.communicate()
            seen += data
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        assert child.returncode == 130
        assert b"Traceback" not in err
        assert ends_with in out.decode("utf-8", "replace")


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is told differently there")
def test_a_reader_that_goes_away_stops_the_answer(shared: Program, endless_model: Path) -> None:
    child = subprocess.Popen(
        shared.command("chat", str(endless_model), "-p", QUESTION),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shared.environment(),
    )
    assert child.stdout is not None
    assert child.stderr is not None
    os.read(child.stdout.fileno(), 10)
    child.stdout.close()
    err = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 141
    assert err == b""
