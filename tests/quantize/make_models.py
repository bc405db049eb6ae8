"""Run in a toolchain: `make_models.py KIND[,KIND…] TOKENIZER FOLDER` writes a small model with random weights there;
of several kinds each into a folder of its own in it.

TOKENIZER is a SentencePiece file, or a folder with tokenizer.json.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceProcessor

kinds, tokenizer, folder = sys.argv[1].split(","), Path(sys.argv[2]), Path(sys.argv[3])
if tokenizer.is_dir():
    count = len(json.loads((tokenizer / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
    begin, end = 1, 2
else:
    words = SentencePieceProcessor(model_file=str(tokenizer))
    count, begin, end = words.vocab_size(), words.bos_id(), words.eos_id()
common = {
    "vocab_size": count,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": begin,
    "eos_token_id": end,
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
# Older ones call the same by names of their own.
older = {
    "n_embd": 256,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": begin,
    "eos_token_id": end,
    "vocab_size": count,
}
experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256, "num_local_experts": 4}
configs |= {
    "mistral": lambda: transformers.MistralConfig(**common),
    "mixtral": lambda: transformers.MixtralConfig(**common, num_local_experts=4),
    "gemma": lambda: transformers.GemmaConfig(**common, head_dim=64),
    "gemma2": lambda: transformers.Gemma2Config(**common, head_dim=64, sliding_window=128),
    "nemotron": lambda: transformers.NemotronConfig(**common),
    "gpt2": lambda: transformers.GPT2Config(**older, n_positions=512, n_ctx=512),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**common),
    "qwen2": lambda: transformers.Qwen2Config(**common),
    "qwen2_moe": lambda: transformers.Qwen2MoeConfig(
        **common, **experts, shared_expert_intermediate_size=256
    ),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(**common, **experts, head_dim=64),
    "cohere": lambda: transformers.CohereConfig(**common),
    "cohere2": lambda: transformers.Cohere2Config(**common, sliding_window=128, rotary_pct=1.0),
    "starcoder2": lambda: transformers.Starcoder2Config(**common),
    "olmo": lambda: transformers.OlmoConfig(**common),
    "olmo2": lambda: transformers.Olmo2Config(**common),
    "olmoe": lambda: transformers.OlmoeConfig(**{**common, "num_key_value_heads": 4}, **experts),
    "granite": lambda: transformers.GraniteConfig(**common),
    "granitemoe": lambda: transformers.GraniteMoeConfig(**common, num_local_experts=4, num_experts_per_tok=2),
    "stablelm": lambda: transformers.StableLmConfig(**common),
    "phi": lambda: transformers.PhiConfig(**{**common, "num_key_value_heads": 4, "intermediate_size": 1024}),
    "falcon": lambda: transformers.FalconConfig(
        vocab_size=count,
        hidden_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=begin,
        eos_token_id=end,
        new_decoder_architecture=True,
        num_kv_heads=2,
    ),
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=count, hidden_size=256, n_layer=2, n_head=4, bos_token_id=begin, eos_token_id=end
    ),
    "smollm3": lambda: transformers.SmolLM3Config(**common),
    "exaone4": lambda: transformers.Exaone4Config(**common, sliding_window=128),
    "ernie4_5": lambda: transformers.Ernie4_5Config(**common),
    "arcee": lambda: transformers.ArceeConfig(**common),
    "seed_oss": lambda: transformers.SeedOssConfig(**common, head_dim=64),
}


def make_seeing(folder: Path) -> None:
    """A model that sees: a text model, an encoder of pictures and what connects them (SmolVLM)."""
    text = transformers.LlamaConfig(**common)
    pictures = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    config = transformers.Idefics3Config(
        text_config=text.to_dict(), vision_config=pictures, scale_factor=2, image_token_id=3, pad_token_id=0
    )
    model = transformers.Idefics3ForConditionalGeneration(config).to(torch.float32)
    model.save_pretrained(folder)
    config_file = folder / "config.json"
    told = json.loads(config_file.read_text("utf-8"))
    told["text_config"]["architectures"] = [
        "LlamaForCausalLM"
    ]  # as in published ones; the converter asks for it
    config_file.write_text(json.dumps(told), "utf-8")
    told = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"longest_edge": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(told), "utf-8")
    shutil.copyfile(tokenizer, folder / "tokenizer.model")


def make(kind: str, folder: Path) -> None:
    torch.manual_seed(1)
    if kind == "idefics3":
        make_seeing(folder)
        return
    model = transformers.AutoModelForCausalLM.from_config(configs[kind](), dtype=torch.float32)
    model.save_pretrained(folder)
    if kind == "bitnet-older":
        # The first published BitNet models have other names; the converter knows those by itself.
        former = {
            "mlp.ffn_sub_norm": "mlp.ffn_layernorm",
            "self_attn.attn_sub_norm": "self_attn.inner_attn_ln",
        }
        weights = load_file(folder / "model.safetensors")
        for new, old in former.items():
            weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    if tokenizer.is_dir():
        for file in tokenizer.iterdir():
            shutil.copyfile(file, folder / file.name)
    else:
        shutil.copyfile(tokenizer, folder / "tokenizer.model")


for each in kinds:
    make(each, folder / each if len(kinds) > 1 else folder)
