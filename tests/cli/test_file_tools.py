"""`slmdesk imatrix`, `split`, `merge`, `convert` and `lora` as real processes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths
from slmdesk.formats.gguf import read_header
from tests.cli.conftest import Program

pytestmark = pytest.mark.timeout(300)
GUIDE = "slmdesk/desk-guide"


@pytest.fixture
def short_text(tmp_path: Path) -> Path:
    text = (Paths.resolve({}).resources / "quantize" / "guide-calibration.txt").read_text("utf-8")
    path = tmp_path / "short.txt"
    path.write_text(text[:6500], "utf-8")
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_split_and_merged_again(quantizing: Program, desk_guide: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    words = ("split", GUIDE, "--max-size", "4M", "--output", str(out))
    planned = quantizing.run(*words, "--dry-run", "--json")
    assert planned.code == 0, planned.out
    assert not out.exists()
    made = quantizing.run(*words, "--json")
    assert made.code == 0, made.out
    assert [file["path"] for file in made.result["files"]] == [f["path"] for f in planned.result["files"]]
    assert made.result["size_bytes"] == planned.result["bytes"]
    assert {event["event"] for event in made.events} >= {"job", "progress", "done"}
    first = made.result["path"]
    whole = tmp_path / "whole.gguf"
    merged = quantizing.run("merge", first, "--output", str(whole))
    assert merged.code == 0, merged.err
    assert str(whole) in merged.out
    assert digest(whole) == digest(desk_guide)
    again = quantizing.run("merge", first, "--output", str(whole), "--json")
    assert (again.code, again.error["code"]) == (1, "output_exists")


def test_a_matrix_is_made_merged_and_shown(quantizing: Program, short_text: Path, tmp_path: Path) -> None:
    one, both = tmp_path / "one.gguf", tmp_path / "both.gguf"
    made = quantizing.run(
        "imatrix", "make", GUIDE, "--text", str(short_text), "--chunk", "128", "--output", str(one), "--json"
    )
    assert made.code == 0, made.out
    merged = quantizing.run("imatrix", "merge", str(one), str(one), "--output", str(both), "--json")
    assert merged.result["chunks"] == 2 * made.result["chunks"]
    shown = quantizing.run("imatrix", "show", str(both), "--model", GUIDE, "--json")
    assert shown.code == 0, shown.out
    assert shown.result["uncovered"] == []
    assert shown.result["datasets"] == [short_text.name] * 2
    assert len(shown.result["tensors"]) == made.result["entries"]
    table = quantizing.run("imatrix", "show", str(both), "--model", GUIDE)
    assert "ENTROPY" in table.out
    assert "All weights in the layers" in table.out
    wrong = quantizing.run("imatrix", "show", str(short_text), "--json")
    assert (wrong.code, wrong.error["code"]) == (1, "imatrix_unreadable")


def test_what_is_written_wrongly_is_a_matter_of_usage(program: Program) -> None:
    for words in (
        ("split", GUIDE, "--max-size", "much"),
        ("split", GUIDE, "--max-size", "1G", "--max-tensors", "4"),
        ("split", GUIDE, "--max-tensors", "0"),
        ("imatrix",),
        ("imatrix", "guess"),
        ("lora", "merge", GUIDE),
        ("lora", "merge", GUIDE, "a.gguf=much"),
        ("convert", "folder", "--type", "q2_k"),
    ):
        found = program.run(*words, "--json")
        assert (found.code, found.error["code"]) == (2, "usage"), words


def test_what_a_folder_becomes(program: Program) -> None:
    folder = str(Paths.resolve({}).resources / "desk-guide")
    found = program.run("convert", folder, "--type", "q8_0", "--dry-run", "--json")
    assert found.code == 0, found.out
    assert Path(found.result["files"][0]["path"]).name == "desk-guide-Q8_0.gguf"
    assert found.result["exact"] is False
    half = program.run("convert", folder, "--type", "f16", "--dry-run", "--json")
    assert half.result["bytes"] > found.result["bytes"]
    blind = program.run("convert", folder, "--projector", "--dry-run", "--json")
    assert (blind.code, blind.error["code"]) == (1, "projector_missing")
    gone = program.run("convert", "/no/such/folder", "--json")
    assert gone.code == 1
    no_adapter = program.run("lora", "convert", folder, "--json")
    assert (no_adapter.code, no_adapter.error["code"]) == (1, "adapter_unsuitable")
    no_lora = program.run("lora", "merge", GUIDE, str(Paths.resolve({}).builtin_model), "--json")
    assert (no_lora.code, no_lora.error["code"]) == (1, "adapter_unsuitable")


def test_parts_in_the_library_are_listed_as_one(quantizing: Program) -> None:
    made = quantizing.run("split", GUIDE, "--max-tensors", "20", "--json")
    assert made.code == 0, made.out
    listed = quantizing.run("list", "--json").out
    assert "local/desk-guide" in listed
    joined = quantizing.run("merge", "local/desk-guide", "--json")
    assert joined.code == 0, joined.out
    assert read_header(Path(joined.result["path"])).metadata.get("split.count") is None
