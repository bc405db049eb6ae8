"""`slmdesk fit`: the library's models, files, and what lies on a hub, of which only the header is fetched."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .conftest import Program, Result

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.engines import gpus
from tests.hub.server import LoopbackHub

PARTS = ("weights_bytes", "kv_bytes", "compute_bytes", "overhead_bytes")


def test_a_model_of_the_library(program: Program, desk_guide: Path) -> None:
    result = program.run("fit", "slmdesk/desk-guide", "--json", "--context", "1024").result
    assert result["total_bytes"] == sum(result[part] for part in PARTS)
    assert result["weights_bytes"] == desk_guide.stat().st_size
    assert result["kv_bytes"] > 0
    assert (result["context"], result["source"], result["verdict"]) == (1024, "library", "fits")
    assert result["available_bytes"] > result["total_bytes"]
    assert result["max_context"] > 0
    assert result["last_error"] is None
    by_path = program.run("fit", str(desk_guide), "--json", "--context", "1024").result
    assert by_path["kv_bytes"] == result["kv_bytes"]


@pytest.mark.usefixtures("no_real_gpu")
def test_what_a_gpu_takes_is_shown_before_the_load(program: Program, smollm2: Path) -> None:
    gpus.add_part(program.home / "data" / "backends")
    env = {"STAND_IN_DRIVER": "lists"}
    gpu = program.run("fit", str(smollm2), "--json", "--context", "2048", env=env).result["gpu"]
    assert (gpu["device"], gpu["gpu_layers"], gpu["layers"]) == ("StandIn0", 31, 31)
    assert gpu["device_bytes"] == pytest.approx(157.7e6, rel=0.05)
    assert gpu["device_free_bytes"] == 6_000_000_000
    shown = program.run("fit", str(smollm2), "--context", "2048", env=env).out
    assert "all layers" in shown
    assert "6.0 GB free there" in shown
    alone = {**env, "SLMDESK_ENGINE_GPU_LAYERS": "0"}
    assert program.run("fit", str(smollm2), "--json", env=alone).result["gpu"] is None
    # Nor does a driver that crashes keep anybody from the answer.
    broken = program.run("fit", str(smollm2), "--json", env={"STAND_IN_DRIVER": "crashes"}).result
    assert (broken["gpu"], broken["verdict"]) == (None, "fits")


def test_a_folder_of_safetensors_needs_what_its_gguf_needs(program: Program, desk_guide: Path) -> None:
    made = program.run("fit", "slmdesk/desk-guide", "--json", "--context", "1024").result
    folder = program.run("fit", str(desk_guide.parent), "--json", "--context", "1024").result
    assert (folder["source"], folder["kv_bytes"]) == ("file", made["kv_bytes"])
    assert abs(folder["total_bytes"] / made["total_bytes"] - 1) < 0.02


def test_a_known_model_without_a_network(program: Program) -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:9"}

    def fit(model: str) -> Result:
        return program.run("fit", model, "--json", "--context", "4096", env=env)

    result = fit("Qwen/Qwen3-4B").result
    assert (result["model"], result["source"], result["context"]) == ("Qwen/Qwen3-4B:Q4_K_M", "list", 4096)
    assert result["weights_bytes"] == pytest.approx(2.43e9, rel=0.04)
    # 36 layers with 8 heads of 128 for keys and values each, two bytes a number.
    assert result["kv_bytes"] == result["cells"] * 36 * 8 * 128 * 2 * 2
    larger = fit("Qwen/Qwen3-4B:Q8_0").result
    assert larger["weights_bytes"] > 1.7 * result["weights_bytes"]
    assert "built-in list" in program.run("fit", "Qwen/Qwen3-4B", env=env).out
    assert fit("nobody/nothing").error["code"] == "hub_unreachable"


def test_for_people(program: Program) -> None:
    done = program.run("fit", "slmdesk/desk-guide")
    assert done.code == 0
    for word in (
        "weights",
        "KV cache",
        "compute",
        "overhead",
        "total",
        "free now",
        "fits",
        "longest context",
    ):
        assert word in done.out


@pytest.mark.parametrize("context", ["0", "-5", "x", "99999999999"])
def test_wrong_contexts(program: Program, context: str) -> None:
    assert program.run("fit", "slmdesk/desk-guide", f"--context={context}", "--json").code == 2


def test_a_repository(program: Program, desk_guide: Path) -> None:
    """A GGUF of a hub, a folder of safetensors with its config, and what is neither."""
    config = {
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 2048,
        "max_position_embeddings": 2048,
    }
    header = json.dumps({"a": {"dtype": "I8", "shape": [2000], "data_offsets": [0, 2000]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(2000)
    repositories = {
        "maker/Small-GGUF": {"Small-F16.gguf": desk_guide, "README.md": b"# Small"},
        "maker/Small": {"config.json": json.dumps(config).encode(), "model.safetensors": weights},
        "maker/Other": {"README.md": b"# Other"},
    }
    with LoopbackHub(repositories) as hub:
        env = {"HF_ENDPOINT": hub.url}
        local = program.run("fit", str(desk_guide), "--json").result
        for reference in ("maker/Small-GGUF", "maker/Small-GGUF:F16", "maker/Small-GGUF/Small-F16.gguf"):
            result = program.run("fit", reference, "--json", env=env).result
            assert result["source"] == "hub"
            assert result["model"] == "maker/Small-GGUF/Small-F16.gguf"
            for part in PARTS:
                assert result[part] == local[part]
        folder = program.run("fit", "maker/Small", "--json", env=env).result
        assert folder["weights_bytes"] == len(weights)
        assert folder["kv_bytes"] > 0
        assert (
            program.run("fit", "maker/Small-GGUF:Q2_K", "--json", env=env).error["code"] == "choice_not_found"
        )
        assert program.run("fit", "maker/Other", "--json", env=env).error["code"] == "fit_unknown"
        assert program.run("fit", "maker/None", "--json", env=env).error["code"] == "repo_not_found"
