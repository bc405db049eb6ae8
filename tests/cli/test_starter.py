"""The starter on the command line: the first question of a fresh installation is answered by a general model."""

from __future__ import annotations

import shutil
from pathlib import Path

from slmdesk.library.shipped import STARTER, STARTER_INSTRUCTIONS

from .conftest import Program


def test_the_first_question_is_answered_right_every_time(starter: Path, program: Program) -> None:
    assert starter.is_file()
    for _ in range(3):
        done = program.run("chat", "-p", "What is the capital of France?", "--json", "--save")
        assert done.code == 0, done.err
        assert "Paris" in done.result["text"]
        assert done.result["model"] == STARTER
    kept = program.run(
        "chat", "--conversation", str(done.result["conversation"]), "-p", "And of Italy?", "--json"
    )
    assert kept.result["model"] == STARTER
    listed = program.run("list", "--json").result["models"]
    assert [(model["id"], model["starter"]) for model in listed] == [
        ("slmdesk/desk-guide", False),
        (STARTER, True),
    ]
    (file,) = listed[1]["files"]
    assert (file["state"], file["shipped"], file["path"]) == ("verified", "starter", str(starter))
    assert program.run("rm", STARTER, "--json").error["code"] == "built_in_stays"


def test_instructions_of_ones_own_come_first(starter: Path, program: Program) -> None:
    assert starter.is_file()
    own = program.run("chat", "-p", "Hello", "--system", "Be brief.", "--max-tokens", "2", "--json")
    usual = program.run("chat", "-p", "Hello", "--max-tokens", "2", "--json")
    bare = program.run(
        "chat", "-p", "Hello", "--max-tokens", "2", "--json", env={"SLMDESK_CHAT_SYSTEM_PROMPT": ""}
    )
    tokens = [done.result["usage"]["prompt_tokens"] for done in (own, usual, bare)]
    assert tokens[0] < tokens[1], (tokens, STARTER_INSTRUCTIONS)
    assert (
        tokens[2] != tokens[1]
    )  # a person's choice, even an empty one, is what the publisher's template gets


def test_without_it_desk_guide_answers(program: Program) -> None:
    done = program.run("chat", "-p", "What is a quant?", "--json")
    assert done.result["model"] == "slmdesk/desk-guide"
    assert "quant" in done.result["text"]


def test_the_same_model_from_elsewhere_answers_as_well(
    starter: Path, program: Program, tmp_path: Path
) -> None:
    """It is known by its header, whatever it is called here."""
    there = shutil.copyfile(starter, tmp_path / "little.gguf")
    done = program.run("import", str(there), "--as", "somebody/little", "--json")
    assert done.code == 0, done.err
    ask = ("-p", "What is the capital of France?", "--max-tokens", "16", "--json")
    own, shipped = (program.run("chat", model, *ask) for model in ("somebody/little", STARTER))
    assert "Paris" in own.result["text"]
    assert own.result["usage"]["prompt_tokens"] == shipped.result["usage"]["prompt_tokens"]
