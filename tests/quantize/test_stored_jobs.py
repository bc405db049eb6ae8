"""Rows as the program wrote them when jobs of this room kept plain dictionaries: they are read, and go on."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.file_tools.tool_requests import (
    AdapterMergeRequest,
    SplitRequest,
    request_from_json,
)
from slmdesk.quantize.job_memory import JobMemory
from slmdesk.quantize.request import Request
from tests.quantize.tool_bench import ToolBench

pytestmark = pytest.mark.timeout(600)

STEP = {"name": "quantize", "quant": "Q2_K", "reckoned": 0.216, "seconds": 0.816, "error": None}
MEMORY: dict[str, Any] = {
    "quants": {
        "Q2_K": {
            "state": "placed",
            "quantize_seconds": 1.5753986279996752,
            "fallbacks": [["blk.0.attn_v.weight", "Q2_K", "Q4_0"]],
            "spared": {"blk.0.attn_v.weight": "Q4_0"},
            "size_bytes": 2235776,
            "forecast_bytes": 2235776,
            "bits_per_weight": 3.5894169021320317,
            "files": [{"name": "quant.gguf", "sha256": "55a0" * 16}],
            "path": "/m/desk-guide-Q2_K.gguf",
            "paths": ["/m/desk-guide-Q2_K.gguf"],
            "perplexity": 11379.916163458038,
            "perplexity_error": 597.3095456013076,
            "tokens_scored": 3825,
            "perplexity_ratio": 0.7306134160791351,
            "perplexity_ratio_error": 0.023449298174412304,
            "kld_mean": 2.80414685002859,
            "kld_error": 0.02387147621748893,
            "kld_median": 2.667281475540153,
            "kld_95": 5.736125271414849,
            "kld_999": 6.390713972977628,
            "top_1": 0.1291503267973856,
            "top_1_error": 0.005423259797574325,
            "text": "t.txt",
            "text_sha256": "c428d05ac37a4e3d",
            "chunks": 15,
            "source_perplexity": 15575.837937015722,
            "load_seconds": 0.05077218099904712,
            "first_token_seconds": 0.02355151899973862,
            "prompt_tokens_s": 3170.68972799865,
            "generation_tokens_s": 1772.9924709078575,
            "peak_memory_bytes": 65961984,
        },
        "Q8_0": {"state": "written", "quantize_seconds": 0.109, "fallbacks": [], "spared": {}},
        "IQ1_S": {"state": "failed", "error": {"code": "imatrix_needed", "message": "No.", "hint": ""}},
        "Q6_K": {"state": ""},
        "there": {
            "state": "placed",
            "quant": "Q4_0",
            "path": "/m/there.gguf",
            "paths": ["/m/there.gguf"],
            "size_bytes": 7,
            "bits_per_weight": 4.5,
            "imatrix": False,
        },
    },
    "matrix": "/data/imatrix/desk-guide.imatrix.gguf",
    "done": ["fetch", "convert"],
    "fingerprint": "6ba49acd9a63fb47afb033daf6097766",
    "steps": [STEP, {**STEP, "name": "check", "state": "running"}, {**STEP, "state": "done", "took": 2.486}],
    "measured_source": {
        "perplexity": 15575.837937015722,
        "perplexity_error": 597.3,
        "tokens_scored": 3825,
        "text": "t.txt",
        "text_sha256": "c428d05ac37a4e3d",
        "chunks": 15,
    },
}
REQUEST = {
    "model": "slmdesk/desk-guide",
    "targets": ["Q2_K", "Q8_0"],
    "imatrix": "auto",
    "measure": True,
    "text": "/t.txt",
    "calibration_text": "",
    "output": "",
    "pattern": "{name}-{quant}",
    "options": {
        "output_type": "Q8_0",
        "embedding_type": "",
        "overrides": [["attn_v", "Q6_K"]],
        "pure": False,
        "keep_split": False,
        "threads": 2,
    },
}


def test_a_row_is_read_whole_and_written_in_the_same_shape() -> None:
    memory = JobMemory.from_json(MEMORY)
    assert memory.quants["Q2_K"].files is not None
    assert memory.quants["there"].files is None
    again = json.loads(json.dumps(memory.to_json()))
    wanted = deepcopy(MEMORY)
    for name, key in (("Q8_0", "spared"), ("Q6_K", "state")):  # what says nothing is left out
        del wanted["quants"][name][key]
    assert again == wanted
    assert JobMemory.from_json(again).to_json() == memory.to_json()
    assert memory.quants["IQ1_S"].error is not None
    assert memory.quants["IQ1_S"].error.code == "imatrix_needed"
    assert JobMemory.from_json({}) == JobMemory()


def test_a_request_is_read_whole_and_written_in_the_same_shape() -> None:
    assert json.loads(json.dumps(Request.from_json(REQUEST).to_json())) == REQUEST


def test_what_a_row_cannot_hold_is_said_by_its_field() -> None:
    bad = {**REQUEST, "options": {**REQUEST["options"], "threads": "two"}}  # type: ignore[dict-item]
    with pytest.raises(SlmDeskError, match=r"options\.threads: it must be a whole number") as caught:
        Request.from_json(bad)
    assert caught.value.code == "bad_request"
    with pytest.raises(SlmDeskError, match="state"):
        JobMemory.from_json({"quants": {"Q8_0": {"state": "half"}}})


def test_tools_and_their_requests() -> None:
    split = {"tool": "split", "source": "a.gguf", "max_bytes": 7, "max_tensors": 0, "metadata_first": False}
    merge = {
        "tool": "adapter merge",
        "source": "a",
        "adapters": [["b.gguf", 0.5]],
        "type": "F16",
        "threads": 0,
    }
    wanted = {
        "split": SplitRequest("a.gguf", max_bytes=7),
        "adapter merge": AdapterMergeRequest("a", (("b.gguf", 0.5),), "F16"),
    }
    for stored in ({**split, "output": ""}, {**merge, "output": ""}):
        found = request_from_json(stored)
        assert found == wanted[found.tool]
        assert json.loads(json.dumps(found.to_json())) == stored


async def test_a_tools_job_under_its_older_name_is_done(
    tools: ToolBench, desk_guide: Path, tmp_path: Path
) -> None:
    job = await tools.tools.start(SplitRequest(str(desk_guide), max_tensors=20, output=str(tmp_path)))
    parameters = dict(job.parameters)
    parameters["wish"] = parameters.pop("request")
    await tools.database.run(
        lambda connection: connection.execute(
            "UPDATE jobs SET parameters = ? WHERE id = ?", (json.dumps(parameters), job.id)
        )
    )
    ended = await tools.work(job)
    assert (ended.state, ended.error) == ("done", None)
    assert ended.result is not None
    assert ended.result["tool"] == "split"
    parts = [Path(file["path"]) for file in ended.result["files"]]
    assert sum(len(read_header(part).tensors) for part in parts) == len(read_header(desk_guide).tensors)
