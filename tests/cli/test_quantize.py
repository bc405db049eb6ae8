"""`slmdesk quantize` as a real process: what it will cost, what it makes, and a model that is still on a hub."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths
from tests.cli.conftest import Program
from tests.hub import LoopbackHub

pytestmark = pytest.mark.timeout(300)
NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


def test_what_it_will_cost(program: Program) -> None:
    found = program.run("quantize", "slmdesk/desk-guide", "--to", "q8_0,Q4_K", "--dry-run", "--json")
    assert found.code == 0, found.err
    quants = found.result["quants"]
    assert [quant["quant"] for quant in quants] == ["Q8_0", "Q4_K_M"]
    assert quants[0]["bytes"] > quants[1]["bytes"] > 0
    assert quants[0]["fit"]["verdict"] == "fits"
    shown = program.run("quantize", "slmdesk/desk-guide", "--to", "Q8_0", "--dry-run")
    assert "LARGEST CONTEXT" in shown.out


def test_a_mistake_is_said_at_once(program: Program) -> None:
    for words, code in (
        (("slmdesk/desk-guide", "--to", "Q9_K"), "target_unknown"),
        (("slmdesk/desk-guide", "--to", "IQ2_XS", "--imatrix", "none"), "imatrix_needed"),
        (("no such model", "--to", "Q8_0"), "model_not_found"),
    ):
        found = program.run("quantize", *words, "--json")
        assert found.code != 0
        assert found.error["code"] == code


def test_a_preset_gives_way_to_what_is_written_beside_it(program: Program, tmp_path: Path) -> None:
    preset = tmp_path / "p.json"
    wishes = ("--to", "Q2_K", "--pure", "--threads", "1", "--output-type", "q8_0")
    assert program.run("quantize", "x", *wishes, "--save-preset", str(preset)).code == 0
    plain = program.run(
        "quantize", "slmdesk/desk-guide", "--preset", str(preset), "--dry-run", "--json"
    ).result
    own = ("--to", "Q4_0,Q8_0", "--output", str(tmp_path / "out"), "--pattern", "mine-{quant}")
    mixed = program.run(
        "quantize", "slmdesk/desk-guide", "--preset", str(preset), *own, "--dry-run", "--json"
    ).result
    assert [quant["quant"] for quant in plain["quants"]] == ["Q2_K"]
    assert [Path(quant["path"]) for quant in mixed["quants"]] == [
        tmp_path / "out" / "mine-Q4_0.gguf",
        tmp_path / "out" / "mine-Q8_0.gguf",
    ]
    pure = program.run(
        "quantize",
        "slmdesk/desk-guide",
        "--to",
        "Q4_0",
        "--pure",
        "--output-type",
        "q8_0",
        "--dry-run",
        "--json",
    ).result
    assert mixed["quants"][0]["bytes"] == pure["quants"][0]["bytes"]


def test_a_wish_that_does_nothing_is_said(program: Program) -> None:
    words = ("quantize", "slmdesk/desk-guide", "--to", "Q4_K_M", "--json")
    for more in (("--dry-run",), ()):
        found = program.run(*words, "--tensor-type", "attn_q_=q8_0", *more)
        assert found.error["code"] == "pattern_matches_nothing"
        assert "attn_q" in found.error["hint"]
    # A norm is one row, and rows alone are never quantized.
    assert (
        program.run(*words, "--tensor-type", "attn_norm=q8_0", "--dry-run").error["code"]
        == "pattern_matches_nothing"
    )
    assert program.run(*words, "--tensor-type", "attn_q=q8_0", "--dry-run").code == 0
    refused = program.run(*words, "--threads", "-3", "--dry-run")
    assert (refused.code, "number of threads" in refused.error["message"]) == (2, True)


def test_a_result_that_is_no_smaller_is_said(program: Program, smollm2: Path) -> None:
    found = program.run("quantize", str(smollm2), "--to", "Q8_0,Q2_K", "--dry-run", "--json")
    assert found.code == 0, found.err
    said = [line for line in found.result["warnings"] if "no smaller than its source" in line]
    assert said == ["Q8_0 becomes no smaller than its source: 145 MB from 98 MB."]


@pytest.mark.slow
def test_the_figures_are_exported(quantizing: Program, tmp_path: Path) -> None:
    table = tmp_path / "quants.csv"
    short = tmp_path / "short.txt"
    text = (Paths.resolve({}).resources / "quantize" / "guide-measure.txt").read_text("utf-8")
    short.write_text(text[:6500], "utf-8")
    model = "slmdesk/desk-guide"
    nothing = quantizing.run("quantize", model, "--export", str(table), "--json")
    assert nothing.error["code"] == "nothing_measured"
    assert not table.exists()
    made = quantizing.run(
        "quantize", model, "--to", "Q4_0", "--measure", "--text", str(short), "--export", str(table), "--json"
    )
    assert made.code == 0, made.err
    rows = list(csv.DictReader(io.StringIO(table.read_text("utf-8"))))
    assert [row["quant"] for row in rows] == ["F16", "Q4_0"]
    assert float(rows[1]["kld_mean"]) == made.result["quants"][0]["kld_mean"]
    markdown = tmp_path / "quants.md"
    again = quantizing.run("quantize", model, "--export", str(markdown), "--json")
    assert again.result["quants"] == 2
    assert "| Q4_0 |" in markdown.read_text("utf-8")
    wrong = quantizing.run("quantize", model, "--export", "quants.xlsx", "--json")
    assert (wrong.code, "csv" in wrong.error["message"]) == (2, True)


def test_a_preset_keeps_the_choices(program: Program, tmp_path: Path) -> None:
    preset = tmp_path / "small.json"
    saved = program.run("quantize", "x", "--to", "Q2_K", "--pure", "--save-preset", str(preset), "--json")
    assert saved.code == 0, saved.out
    again = program.run("quantize", "slmdesk/desk-guide", "--preset", str(preset), "--dry-run", "--json")
    assert [quant["quant"] for quant in again.result["quants"]] == ["Q2_K"]


def test_what_exists_is_measured_against_its_source(
    quantizing: Program, desk_guide: Path, smollm2: Path, tmp_path: Path
) -> None:
    text = (Paths.resolve({}).resources / "quantize" / "guide-measure.txt").read_text("utf-8")
    short, shorter = tmp_path / "short.txt", tmp_path / "shorter.txt"
    short.write_text(text[:6500], "utf-8")
    shorter.write_text(text[:1500], "utf-8")
    model = "slmdesk/desk-guide"
    assert quantizing.run("quantize", model, "--measure-only", "--json").error["code"] == "nothing_to_measure"
    out = ("--output", str(tmp_path), "--no-measure", "--json")
    assert quantizing.run("quantize", model, "--to", "Q2_K", *out).code == 0
    made = tmp_path / "desk-guide-Q2_K.gguf"
    words = ("quantize", model, "--measure-only", str(made))
    assert quantizing.run(*words, "--to", "Q8_0", "--json").code == 2
    assert quantizing.run(*words, "--text", str(shorter), "--json").error["code"] == "text_too_short"
    wrong = quantizing.run("quantize", model, "--measure-only", str(smollm2), "--json")
    assert wrong.error["code"] == "vocabulary_differs"
    table = tmp_path / "figures.json"
    found = quantizing.run(*words, "--text", str(short), "--export", str(table))
    assert found.code == 0, found.out
    source, quant = json.loads(table.read_text("utf-8"))["quants"]
    assert (source["quant"], quant["quant"]) == ("F16", "Q2_K")
    assert quant["kld_mean"] > quant["kld_error"] > 0
    assert f"±{quant['kld_error']:.5f}" in found.out
    assert found.out.count("±") == 4  # perplexity of both, divergence and agreement of the quant


def test_what_a_folder_will_cost_before_it_is_converted(program: Program) -> None:
    resources = Paths.resolve({}).resources
    names = ("--to", "Q8_0,Q4_K_M,Q2_K", "--dry-run", "--json")
    exact = program.run("quantize", "slmdesk/desk-guide", *names).result
    found = program.run("quantize", str(resources / "desk-guide"), *names)
    assert found.code == 0, found.out
    assert found.result["estimated"] is True
    for quant, real in zip(found.result["quants"], exact["quants"], strict=True):
        # The built-in model's vocabulary counts as no other's does: it is a part in thirty of its quants.
        assert quant["bytes"] == pytest.approx(real["bytes"], rel=0.06)
        assert quant["fit"]["verdict"] == "fits"
    assert [step["name"] for step in found.result["steps"]][:2] == ["convert", "imatrix"]
    shown = program.run("quantize", str(resources / "desk-guide"), "--to", "Q8_0", "--dry-run")
    assert "converted first" in shown.out
    refused = program.run("quantize", str(resources / "desk-guide"), *names, "--tensors")
    assert refused.error["code"] == "convert_first"


def test_what_becomes_of_every_tensor(program: Program, smollm2: Path) -> None:
    words = ("quantize", str(smollm2), "--to", "Q2_K", "--tensors")
    assert program.run(*words, "--json").code == 2
    found = program.run(*words, "--dry-run", "--json")
    assert found.code == 0, found.out
    tensors = {tensor["name"]: tensor for tensor in found.result["quants"][0]["tensors"]}
    query = tensors["blk.0.attn_q.weight"]
    assert (query["shape"], query["from"], query["to"], query["meant"]) == (
        [576, 576],
        "Q4_1",
        "Q4_0",
        "Q2_K",
    )
    assert query["bytes"] == 576 * 576 // 32 * 18
    assert "meant" not in tensors["blk.0.attn_norm.weight"]
    whole = sum(tensor["bytes"] for tensor in tensors.values())
    assert 0 < found.result["quants"][0]["bytes"] - whole < 8_000_000  # what is left is the header
    shown = program.run(*words, "--dry-run").out
    assert "blk.29.ffn_down.weight" in shown
    assert "Q2_K was meant" in shown


@pytest.mark.slow
def test_made_of_a_model_on_the_hub(quantizing: Program, desk_guide: Path) -> None:
    with LoopbackHub({"pub/small": {"small-F16.gguf": desk_guide}}) as hub:
        found = quantizing.run(
            "quantize",
            "pub/small",
            "--to",
            "Q4_0",
            "--no-measure",
            "--json",
            env={**NO_KEYRING, "SLMDESK_HUB_ENDPOINT": hub.url},
            timeout=240,
        )
    assert found.code == 0, found.out
    assert any(event["event"] == "download" for event in found.events)
    made = Path(found.result["quants"][0]["path"])
    assert made.parent == quantizing.home / "models" / "pub" / "small"
    assert made.name == "small-Q4_0.gguf"
    listed = quantizing.run("list", "--json").out
    assert "pub/small:Q4_0" in listed


def test_a_warning_is_said_once_and_what_was_not_measured_has_no_column(
    program: Program, desk_guide: Path, tmp_path: Path
) -> None:
    where = ("--output", str(tmp_path / "out"))
    first = program.run("quantize", str(desk_guide), "--to", "Q8_0", "--no-measure", *where)
    assert first.code == 0
    assert first.out.splitlines()[0].split() == ["QUANT", "SIZE"]
    (made,) = (tmp_path / "out").glob("*Q8_0.gguf")
    again = program.run("quantize", str(made), "--to", "Q4_0", "--no-measure", "--imatrix", "none", *where)
    assert again.code == 0
    assert again.err.count("is quantized already") == 1
