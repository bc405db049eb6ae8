"""What headers and configs say of a model's memory. Expected sizes are worked out by hand from published configs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.gguf import read_header
from slmdesk.inference.loading import Loading
from slmdesk.memory.forecast import cell_bytes, conversations, forecast, kept_bytes

LLAMA_32_1B = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
GEMMA_3_4B = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "sliding_window": 1024,
        "max_position_embeddings": 131072,
    },
}
DEEPSEEK_V2_LITE = {
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "vocab_size": 102400,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1408,
}
LFM2 = {
    "model_type": "lfm2",
    "hidden_size": 1024,
    "intermediate_size": 4608,
    "num_hidden_layers": 4,
    "conv_L_cache": 3,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "vocab_size": 65536,
    "layer_types": ["conv", "full_attention", "conv", "full_attention"],
}
MAMBA = {
    "model_type": "mamba",
    "hidden_size": 768,
    "num_hidden_layers": 24,
    "state_size": 16,
    "conv_kernel": 4,
    "intermediate_size": 1536,
    "vocab_size": 50280,
}


@pytest.mark.parametrize(
    ("config", "cell"),
    [
        (LLAMA_32_1B, 16 * 2 * 8 * 64 * 2),
        (GEMMA_3_4B, 34 * 2 * 4 * 256 * 2),
        (DEEPSEEK_V2_LITE, 27 * (512 + 64) * 2),  # one compressed key, no values
        (LFM2, 2 * 2 * 8 * 64 * 2),  # only two layers attend
        (MAMBA, 0),
    ],
)
def test_bytes_a_token(config: dict[str, Any], cell: int) -> None:
    architecture = Architecture.from_config(config)
    assert cell_bytes(architecture, "f16") == cell
    assert cell_bytes(architecture, "q8_0") == pytest.approx(cell * 34 / 64)
    assert cell_bytes(architecture, "q4_0") == pytest.approx(cell * 18 / 64)


def test_sliding_layers_take_a_window_where_not_all_is_kept() -> None:
    architecture = Architecture.from_config(GEMMA_3_4B)
    dense = [index for index, layer in enumerate(architecture.layers) if not layer.windowed]
    assert dense == [5, 11, 17, 23, 29]  # every sixth
    layer = 2 * 4 * 256 * 2  # bytes a token
    assert kept_bytes(architecture, 8192, 1, "f16") == 34 * layer * 8192
    # A window of 1024 for one sequence and a batch of 512.
    assert kept_bytes(architecture, 8192, 1, "f16", full_window=False) == layer * (5 * 8192 + 29 * 1536)


def test_states_are_kept_for_each_conversation() -> None:
    mamba = Architecture.from_config(MAMBA)
    assert mamba.recurrent
    assert conversations(mamba, 4) == 4  # no spare ones
    each = 24 * (3 * 1536 + 16 * 1536) * 4
    assert kept_bytes(mamba, 8192, 1, "f16") == each
    assert kept_bytes(mamba, 256, 3, "q4_0") == 3 * each
    short = Architecture.from_config(LFM2)
    assert short.hybrid
    assert kept_bytes(short, 0, 1, "f16") == 2 * 1024 * 2 * 4


@pytest.mark.parametrize(
    "name", ["llama", "gemma3", "lfm2", "mamba", "mamba2", "falcon-h1", "qwen3moe", "phi3"]
)
def test_a_header_says_what_a_config_says(name: str, architectures: ModuleType, tmp_path: Path) -> None:
    """A file of each kind, and the config.json its publisher would have written."""
    size = architectures.Sizes(
        name,
        layers=6,
        hidden=256,
        feed_forward=512,
        heads=4,
        kv_heads=4 if name == "phi3" else 2,
        vocabulary=1200,
        state=16,
        window=512 if name == "gemma3" else 0,
        experts=4 if name == "qwen3moe" else 0,
        experts_used=2 if name == "qwen3moe" else 0,
        attention_layers=(1, 4) if name == "lfm2" else (),
        context=4096,
    )
    header = read_header(architectures.write_model(tmp_path / f"{name}.gguf", size))
    states = {
        "mamba": {"state_size": 16, "conv_kernel": 4, "intermediate_size": 512},
        "mamba2": {"state_size": 16, "conv_kernel": 4, "expand": 2, "n_groups": 1},
        "falcon-h1": {"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_d_ssm": 512, "mamba_n_groups": 1},
    }
    config: dict[str, Any] = {
        "model_type": name.replace("-", "_").replace("qwen3moe", "qwen3_moe"),
        "num_hidden_layers": 6,
        "hidden_size": 256,
        "intermediate_size": 512,
        "vocab_size": 1200,
        "max_position_embeddings": 4096,
        **states.get(name, {}),
    }
    if name not in {"mamba", "mamba2"}:
        config |= {"num_attention_heads": 4, "num_key_value_heads": size.kv_heads}
    if name == "gemma3":
        config["sliding_window"] = 512
    if name == "qwen3moe":
        config |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 512}
    if name == "lfm2":
        config |= {
            "conv_L_cache": 3,
            "layer_types": ["conv", "full_attention", "conv", "conv", "full_attention", "conv"],
        }
    from_file, from_config = Architecture.from_gguf(header), Architecture.from_config(config)
    assert from_file.layers == from_config.layers
    assert from_file.window == from_config.window
    one = forecast(from_file, 10**9, Loading(2048, 1))
    other = forecast(from_config, 10**9, Loading(2048, 1))
    assert one.kv_bytes == other.kv_bytes
    assert one.compute_bytes == other.compute_bytes


@pytest.mark.parametrize(
    "config",
    [{}, {"model_type": "llama"}, {"model_type": "llama", "num_hidden_layers": 10**9, "hidden_size": 1}],
)
def test_what_cannot_be_forecast_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(SlmDeskError) as caught:
        Architecture.from_config(config)
    assert caught.value.code == "architecture_incomplete"
