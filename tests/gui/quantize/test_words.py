"""What is said of quants, their figures, and the files they are exported to."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

from slmdesk.core.jobs.job_store import Job
from slmdesk.gui.quantize import words
from slmdesk.gui.quantize.rows import USUAL, target_rows
from slmdesk.gui.quantize.run_card import progress
from slmdesk.quantize.export import exported
from slmdesk.quantize.planning import QuantForecast
from slmdesk.quantize.recommending import Recommendation
from slmdesk.quantize.results import comparable, result_rows
from slmdesk.quantize.store import Quant
from slmdesk.quantize.targets import TARGETS, find_target


def quant(name: str, size: int, kld: float | None, text: str = "a", **facts: object) -> Quant:
    figures: dict[str, object] = {"size_bytes": size, "bits_per_weight": 8.0, **facts}
    if kld is not None:
        figures |= {
            "kld_mean": kld,
            "perplexity": 5.0 * (1 + kld),
            "perplexity_ratio": 1 + kld,
            "top_1": 0.9,
            "text": f"text {text}",
            "text_sha256": text,
            "generation_tokens_s": 50.0,
        }
    return Quant(f"/models/{name}.gguf", "maker/model", "/models/F16.gguf", name, figures, 1.0)


def source() -> Quant:
    return quant("F16", 16_000_000, 0.0, is_source=True)


def forecast(name: str, **changes: object) -> QuantForecast:
    given = {"seconds": 40.0, "error": 0.12, "fallbacks": (), "exists": False, **changes}
    return QuantForecast(
        name,
        f"/models/{name}.gguf",
        5_000_000,
        8.5,
        memory_bytes=1,
        needs_matrix=False,
        warning="",
        types={},
        **given,
    )  # type: ignore[arg-type]


def test_the_advice_names_size_fit_context_and_measured_loss() -> None:
    found = Recommendation("Q4_K_M", 0, "fits", 8192, 0.031, "why")
    assert words.advice(found, 2_300_000_000, "F16") == (
        "Q4_K_M: 2.3 GB, fits with 8 k context, about 3.1 % worse than F16 by our measure on similar models"
    )
    unknown = Recommendation("Q4_K_M", 0, "too_big", 8192, None, "why")
    assert words.advice(unknown, 2_300_000_000, "F16") == "Q4_K_M: 2.3 GB, does not fit"


def test_where_nothing_is_advised_the_source_is_named() -> None:
    found = Recommendation("", 98_000_000, "fits", 8192, None, "why")
    assert words.advice(found, 0, "Q4_1") == "Nothing smaller is advised: Q4_1, 98 MB, fits with 8 k context"


def test_what_is_no_smaller_is_not_praised() -> None:
    sizes = {"Q8_0": 145_000_000, "Q6_K": 97_000_000}
    forecasts = {name: replace(forecast(name), bytes=size) for name, size in sizes.items()}
    rows = target_rows(
        whole=False,
        ticked=set(),
        recommended="",
        parameters=135_000_000,
        forecasts=forecasts,
        source_bytes=98_000_000,
        source_quant="Q4_1",
    )
    by_name = {row.name: row for row in rows}
    assert words.note(by_name["Q8_0"]) == "Larger than the Q4_1 it is made of"
    assert words.note(by_name["F16"]) == "Larger than the Q4_1 it is made of"
    assert words.note(by_name["Q6_K"]) == "No smaller than the Q4_1 it is made of"
    assert "half its size" not in words.whole_note(by_name["Q8_0"])
    assert words.note(by_name["Q2_K"]) == find_target("Q2_K").good_for


def test_each_figure_tells_how_sure_it_is() -> None:
    measured = quant("Q2_K", 2_000_000, 0.35, kld_error=0.00432, perplexity_error=1234.5, top_1_error=0.0083)
    row = result_rows([measured], "")[0]
    told = dict(words.row_told(row))
    assert told["KL divergence"] == "0.350 ±0.0043"
    assert told["Perplexity"].startswith("6.750 ±1,234, ")
    assert told["Same first choice"] == "90 % ±0.83"
    assert "±" not in "".join(
        value for _, value in words.row_told(result_rows([quant("Q4_0", 1, 0.1)], "")[0])
    )
    markdown = exported([row], "md", "model")
    assert "0.35000 ±0.00432" in markdown


def test_times_tell_how_far_past_forecasts_were_off() -> None:
    assert words.time(40.0, 0.12) == "40 s ±12 %"
    assert words.time(40.0, None) == "about 40 s"


def test_the_table_begins_with_the_usual_targets_and_keeps_what_is_ticked() -> None:
    rows = target_rows(whole=False, ticked={"TQ2_0"}, recommended="IQ3_XXS", parameters=10**9, forecasts={})
    assert [row.name for row in rows if row.ticked] == ["TQ2_0"]
    assert {row.name for row in rows} == {*USUAL, "TQ2_0", "IQ3_XXS"}
    whole = target_rows(whole=True, ticked=set(), recommended="", parameters=10**9, forecasts={})
    assert len(whole) == len(TARGETS)
    assert not whole[0].exact
    assert whole[0].bytes == 2_000_000_000


def test_a_target_says_what_must_be_known_before() -> None:
    def note(name: str, found: QuantForecast | None = None) -> str:
        forecasts = {name: found} if found is not None else {}
        rows = target_rows(whole=True, ticked=set(), recommended="", parameters=10**9, forecasts=forecasts)
        return words.note(next(row for row in rows if row.name == name))

    assert note("TQ2_0") == "Only for models trained ternary"
    assert note("IQ2_XXS") == "Needs a matrix"
    fallen = forecast("Q4_K_M", fallbacks=(("blk.0.ffn_down.weight", "Q6_K", "Q8_0"),) * 2)
    assert note("Q4_K_M", fallen) == "2 tensors as Q8_0"
    assert note("Q8_0", forecast("Q8_0", exists=True)) == "Is there already"
    assert note("Q8_0") == find_target("Q8_0").good_for


def test_only_quants_measured_with_the_newest_text_are_drawn_together() -> None:
    old = quant("Q2_K", 2_000_000, 0.5, text="b")
    rows = result_rows(
        [source(), quant("Q8_0", 8_000_000, 0.001), old, quant("Q4_0", 4_000_000, None)], "Q8_0"
    )
    assert [row.quant for row in rows] == ["F16", "Q8_0", "Q4_0", "Q2_K"]
    newer = [row for row in rows if row.quant != "Q2_K"]
    assert [row.quant for row in comparable(newer)] == ["F16", "Q8_0"]
    assert len({row.facts["text_sha256"] for row in comparable(rows)}) == 1
    assert comparable([row for row in rows if row.quant == "Q4_0"]) == []


def test_the_recommended_one_is_marked_and_the_source_never() -> None:
    rows = result_rows([source(), quant("Q8_0", 8_000_000, 0.001)], "Q8_0")
    assert [(row.quant, row.recommended) for row in rows] == [("F16", False), ("Q8_0", True)]
    assert not any(row.recommended for row in result_rows([source()], "F16"))


def test_exports_hold_every_row_and_figure() -> None:
    rows = result_rows([source(), quant("Q8_0", 8_000_000, 0.001), quant("Q4_0", 4_000_000, None)], "Q8_0")
    table = list(csv.DictReader(io.StringIO(exported(rows, "csv", "model"))))
    assert [line["quant"] for line in table] == ["F16", "Q8_0", "Q4_0"]
    assert float(table[1]["kld_mean"]) == 0.001
    assert table[2]["kld_mean"] == ""
    data = json.loads(exported(rows, "json", "model"))
    assert data["model"] == "model"
    assert [one["recommended"] for one in data["quants"]] == [False, True, False]
    markdown = exported(rows, "md", "model").splitlines()
    assert markdown[0] == "# model"
    assert any("Q8_0 (recommended)" in line and "| 0.00100 |" in line for line in markdown)
    assert len({line.count("|") for line in markdown if line.startswith("|")}) == 1
    assert exported([], "csv", "model") == "model\n"


def test_the_share_of_the_running_step_is_what_is_left_of_the_whole() -> None:
    steps = [
        {"name": "quantize", "quant": "Q8_0", "seconds": 10.0, "state": "done", "took": 9.0},
        {"name": "check", "quant": "Q8_0", "seconds": 4.0},
        {"name": "measure", "quant": "", "seconds": 6.0},
    ]
    job = Job("1", "quantize", "running", done=12.0, total=20.0, memory={"steps": steps})
    found = progress(job)
    assert [state for _, state, _ in found] == ["done", "running", "waiting"]
    assert found[1][2] == 0.5
    assert [words.step(entry) for entry, _, _ in found] == [
        "Quantize to Q8_0",
        "Check Q8_0",
        "Measure what was lost",
    ]


def test_a_partly_failed_run_says_which_quant_was_not_made() -> None:
    result = {
        "quants": [
            {"quant": "Q8_0", "path": str(Path("/x")), "perplexity": 5.0},
            {
                "quant": "Q2_K",
                "error": {"code": "check_failed", "message": "It does not answer.", "hint": ""},
            },
        ]
    }
    job = Job("1", "quantize", "done", result=result)
    assert words.made(job) == "1 quant made, checked and measured. Q2_K: It does not answer."
