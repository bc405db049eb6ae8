"""A tiny mixture-of-experts model with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.benchmarks.models import vocabulary

EXPERTS, USED, HIDDEN, INNER, LAYERS, TOKENS = 4, 2, 64, 96, 2, 512


def experts_gguf(path: Path) -> Path:
    """A Llama-shaped model of two layers whose feed-forward parts are four experts, two of them used a token."""
    random = np.random.default_rng(11)

    def matrix(*shape: int) -> Any:
        return (random.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Random experts")
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(HIDDEN // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(USED)
    writer.add_file_type(0)
    writer.add_vocab_size(TOKENS)
    texts, scores, types = vocabulary(TOKENS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(4)
    writer.add_tensor("token_embd.weight", matrix(TOKENS, HIDDEN) * 8)
    writer.add_tensor("output.weight", matrix(TOKENS, HIDDEN))
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for layer in range(LAYERS):
        name = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{name}.{norm}.weight", np.ones(HIDDEN, np.float32))
        for part in ("q", "k", "v", "output"):
            writer.add_tensor(f"{name}.attn_{part}.weight", matrix(HIDDEN, HIDDEN))
        writer.add_tensor(f"{name}.ffn_gate_inp.weight", matrix(EXPERTS, HIDDEN))
        writer.add_tensor(f"{name}.ffn_gate_exps.weight", matrix(EXPERTS, INNER, HIDDEN))
        writer.add_tensor(f"{name}.ffn_up_exps.weight", matrix(EXPERTS, INNER, HIDDEN))
        writer.add_tensor(f"{name}.ffn_down_exps.weight", matrix(EXPERTS, HIDDEN, INNER))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
