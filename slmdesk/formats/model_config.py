"""From a publisher's config.json to the keys a GGUF of the same model would have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# model_type of the transformers library -> llama.cpp's architecture, where they differ.
_NAMES = {
    "mistral": "llama",
    "mixtral": "llama",
    "smollm": "llama",
    "falcon3": "llama",
    "ministral": "llama",
    "gemma3_text": "gemma3",
    "gemma3n_text": "gemma3n",
    "gemma4_text": "gemma4",
    "phi4": "phi3",
    "phi": "phi2",
    "olmo3": "olmo2",
    "granitemoe": "granitemoe",
    "granitemoehybrid": "granitehybrid",
    "cohere": "command-r",
    "gpt_oss": "gpt-oss",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "qwen3_next": "qwen3next",
    "qwen2_5_vl": "qwen2vl",
    "qwen2_vl": "qwen2vl",
    "qwen3_vl": "qwen3vl",
    "qwen3_5": "qwen35",
    "qwen3_5_text": "qwen35",
    "falcon_h1": "falcon-h1",
    "lfm2_moe": "lfm2moe",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "exaone_moe": "exaone-moe",
    "rwkv7_qwen2": "arwkv7",
    "falcon_mamba": "mamba",
    "mistral3": "llama",
    "granite_swa": "granite_swa",
    "hunyuan_v1_dense": "hunyuan-dense",
}

# GGUF key -> the names config.json gives it, first found counts.
_KEYS = {
    "block_count": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "embedding_length": ("hidden_size", "d_model", "n_embd"),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_dim", "block_ff_dim"),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads"),
    "attention.key_length": ("head_dim", "attention_head_dim"),
    "attention.value_length": ("v_head_dim", "head_dim", "attention_head_dim"),
    "attention.sliding_window": ("sliding_window",),
    "attention.shared_kv_layers": ("num_kv_shared_layers",),
    "attention.kv_lora_rank": ("kv_lora_rank",),
    "vocab_size": ("vocab_size",),
    "context_length": ("max_position_embeddings", "n_positions", "model_max_length"),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
    "expert_used_count": ("num_experts_per_tok", "num_experts_per_token", "moe_topk"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "ssm.conv_kernel": ("conv_kernel", "d_conv", "mamba_d_conv", "linear_conv_kernel_dim"),
    "ssm.state_size": ("state_size", "d_state", "mamba_d_state", "linear_key_head_dim"),
    "ssm.inner_size": ("mamba_d_ssm", "d_inner"),
    "ssm.group_count": ("n_groups", "mamba_n_groups", "linear_num_key_heads"),
    "shortconv.l_cache": ("conv_L_cache",),
    "wkv.head_size": ("head_size",),
    "full_attention_interval": ("full_attention_interval",),
}
_SENTENCE_PIECE = {
    "llama2",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3n",
}  # their tokenizers hold no list of merges
_WITH_STATES = {
    "mamba",
    "mamba2",
    "falcon-h1",
    "granitehybrid",
    "jamba",
    "nemotron_h",
    "plamo2",
    "qwen3next",
    "qwen35",
}


def gguf_keys(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The architecture's name and its keys. What config.json does not say is left out."""
    outer = config
    inner = config.get("text_config")
    if isinstance(inner, dict):  # models that also see or hear
        config = {**config, **inner}
    kind = str(config.get("model_type") or outer.get("model_type") or "")
    name = _NAMES.get(kind, kind)
    keys: dict[str, Any] = {}
    for key, names in _KEYS.items():
        value = next((config[item] for item in names if _is_number(config.get(item))), None)
        if value is not None:
            keys[key] = value
    if name not in _WITH_STATES:
        for key in [key for key in keys if key.startswith("ssm.")]:
            del keys[key]
    else:
        _add_states(name, keys, config)
    _add_layer_types(name, keys, config)
    if name == "deepseek2":
        _add_compressed(keys, config)
    keys["merges"] = 0 if name in _SENTENCE_PIECE else keys.get("vocab_size", 0)
    return name, keys


def _add_states(name: str, keys: dict[str, Any], config: Mapping[str, Any]) -> None:
    hidden = keys.get("embedding_length", 0)
    if name in {"qwen3next", "qwen35"}:
        values = config.get("linear_num_value_heads", 0) * config.get("linear_value_head_dim", 0)
        keys["ssm.inner_size"] = values
    else:
        expand = config.get("expand", config.get("mamba_expand", 2))
        keys.setdefault("ssm.inner_size", int(expand * hidden) if _is_number(expand) else 2 * hidden)
    if name == "mamba":
        keys.pop("ssm.group_count", None)
        keys["ssm.inner_size"] = config.get("intermediate_size") or keys["ssm.inner_size"]
    if name in {"mamba", "mamba2"}:
        keys["feed_forward_length"] = keys["attention.head_count"] = 0


def _add_layer_types(name: str, keys: dict[str, Any], config: Mapping[str, Any]) -> None:
    """A list of what each layer is, where the config has one."""
    kinds = config.get("layer_types") or config.get("layers_block_type")
    if config.get("use_sliding_window") is False:
        keys.pop("attention.sliding_window", None)
    if not isinstance(kinds, list) or len(kinds) != keys.get("block_count"):
        return
    if any(kind == "sliding_attention" for kind in kinds):
        keys["attention.sliding_window_pattern"] = [kind == "sliding_attention" for kind in kinds]
    if any(kind in {"conv", "mamba"} for kind in kinds):
        heads = keys.get("attention.head_count_kv", keys.get("attention.head_count", 0))
        keys["attention.head_count_kv"] = [0 if kind in {"conv", "mamba"} else heads for kind in kinds]
    if name in {"qwen3next", "qwen35"} and "linear_attention" in kinds:
        keys["attention.recurrent_layers"] = [kind == "linear_attention" for kind in kinds]


def _add_compressed(keys: dict[str, Any], config: Mapping[str, Any]) -> None:
    """Multi-head latent attention: one compressed key a token, from which the values come as well."""
    rank, rope, rest = (config.get(key) for key in ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim"))
    if isinstance(rank, int) and isinstance(rope, int):
        keys["attention.head_count_kv"] = 1
        keys["attention.key_length"] = rank + rope
        keys["attention.key_length_mla"] = rope + (rest if isinstance(rest, int) else 128)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
