"""Run in a toolchain: `make_models.py KIND TOKENIZER FOLDER` writes a small model with random weights there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceProcessor

kind, tokenizer, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
words = SentencePieceProcessor(model_file=tokenizer)
common = {
    "vocab_size": words.vocab_size(),
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": words.bos_id(),
    "eos_token_id": words.eos_id(),
    "pad_token_id": 0,
}
bitnet = {"hidden_act": "silu", "tie_word_embeddings": True}  # what llama.cpp computes
configs = {
    "llama": lambda: transformers.LlamaConfig(**common),
    "qwen3": lambda: transformers.Qwen3Config(**common, head_dim=64),
    "gemma3": lambda: transformers.Gemma3TextConfig(**common, head_dim=64, sliding_window=128),
    "phi3": lambda: transformers.Phi3Config(**common),
    "bitnet": lambda: transformers.BitNetConfig(**common, **bitnet),
    "bitnet-older": lambda: transformers.BitNetConfig(**common, **bitnet),
    "bitnet-relu2": lambda: transformers.BitNetConfig(**common, tie_word_embeddings=True),
}
torch.manual_seed(1)
model = transformers.AutoModelForCausalLM.from_config(configs[kind](), dtype=torch.float32)
model.save_pretrained(folder)
if kind == "bitnet-older":
    # The first published BitNet models have other names; the converter knows those by itself.
    older = {"mlp.ffn_sub_norm": "mlp.ffn_layernorm", "self_attn.attn_sub_norm": "self_attn.inner_attn_ln"}
    weights = load_file(folder / "model.safetensors")
    for new, old in older.items():
        weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
shutil.copyfile(tokenizer, folder / "tokenizer.model")
