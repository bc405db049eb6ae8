"""`slmdesk list` and `slmdesk show`."""

from __future__ import annotations

import shutil
from pathlib import Path

from .conftest import Program


def put_model(program: Program, desk_guide: Path) -> None:
    folder = program.home / "models" / "maker" / "Small"
    folder.mkdir(parents=True)
    shutil.copy(desk_guide, folder / "Small-Q8_0.gguf")


def test_the_built_in_model_is_always_there(program: Program, desk_guide: Path) -> None:
    [model] = program.run("list", "--json").result["models"]
    assert (model["id"], model["built_in"]) == ("slmdesk/desk-guide", True)
    [file] = model["files"]
    assert file["size_bytes"] == desk_guide.stat().st_size
    assert file["parameters"] > 1e6
    assert file["context_length"] > 0
    assert file["architecture"] == "llama"
    assert file["problem"] is None


def test_models_of_the_folders_are_listed_and_their_problems_told(program: Program, desk_guide: Path) -> None:
    put_model(program, desk_guide)
    broken = program.home / "models" / "maker" / "Broken"
    broken.mkdir()
    (broken / "Broken-Q4_K_M.gguf").write_bytes(b"GGUF but not really")
    result = program.run("list", "--json").result
    models = {model["id"]: model for model in result["models"]}
    assert set(models) == {"slmdesk/desk-guide", "maker/Small", "maker/Broken"}
    assert models["maker/Broken"]["files"][0]["problem"]["code"].startswith(("gguf", "not_gguf"))
    text = program.run("list")
    assert text.code == 0
    assert "maker/Small" in text.out
    assert " MB" in text.out
    assert "error: " in text.err
    header, *rows = text.out.splitlines()
    column = header.index("STATE")
    assert all(row[column - 1] == " " and row[column] != " " for row in rows if row)


def test_show_tells_about_one_file(program: Program, desk_guide: Path) -> None:
    put_model(program, desk_guide)
    shown = program.run("show", "maker/Small", "--json").result
    assert shown["id"].startswith("maker/Small")
    assert shown["tensors"] > 10
    assert shown["chat_template"] is True
    text = program.run("show", "slmdesk/desk-guide").out
    assert "slmdesk/desk-guide" in text
    assert " MB (" in text
    by_path = program.run("show", str(desk_guide), "--metadata", "--json").result
    assert by_path["metadata"]["general.architecture"] == "llama"
    assert by_path["metadata"]["tokenizer.ggml.tokens"].endswith(" values")
    assert "general.architecture" in program.run("show", "slmdesk/desk-guide", "--metadata").out


def test_show_of_what_is_not_there_or_broken(program: Program, desk_guide: Path) -> None:
    result = program.run("show", "slmdesk/desk-gide", "--json")
    assert (result.code, result.error["code"]) == (1, "model_not_found")
    program.home.mkdir(exist_ok=True)
    broken = program.home / "broken.gguf"
    broken.write_bytes(desk_guide.read_bytes()[:-1000])
    result = program.run("show", str(broken), "--json")
    assert (result.code, result.error["code"]) == (1, "gguf_truncated")
    assert program.run("show").code == 2


def test_show_says_how_a_model_without_a_chat_template_is_spoken_to(program: Program, gemma: Path) -> None:
    result = program.run("show", str(gemma), "--json").result
    assert (result["chat_template"], result["chat_form"]) == (False, "plain dialogue")
    assert "no chat template" in program.run("show", str(gemma)).err
