"""Writes Desk Guide as a Hugging Face folder: weights, tokenizer, chat template, model card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MODEL_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [slm-desk]
---

# Desk Guide

A tiny language model that ships with SLM Desk. It answers questions about small language models, choosing one,
quants, memory, file formats and SLM Desk itself, in English, in one to three sentences. It is **not** a general
assistant: to anything else it says that it does not know, and even inside its subjects it can be wrong.

| | |
| --- | --- |
| architecture | Llama: 4 layers, hidden size 256, feed-forward 768, 4 heads |
| parameters | about 5 million |
| tokenizer | SentencePiece BPE with byte fallback, 3072 pieces |
| context | 2048 tokens (trained on conversations of up to 704) |
| chat format | ChatML; a turn ends with `<|im_end|>` |
| sampling | greedy (temperature 0) |

Every matrix has rows of a multiple of 256, so each K-quant of it is wholly of its own type.

## How it was made
From random weights, on questions and answers written for SLM Desk (`packaging/desk_guide/corpus`), by
`packaging/desk_guide/train.py`: seeded, on a CPU. It has seen no other text. `packaging/desk_guide/evaluate.py`
measures it. `desk-guide-F16.gguf` is made from this folder by llama.cpp's own converter.

## Licence
Apache-2.0, weights and text.
"""


def write_folder(folder: Path, model: Any, tokenizer: Any) -> None:
    """Writes `model` (a transformers Llama) in fp16 and `tokenizer` (a SentencePiece processor) to `folder`."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(tokenizer.serialized_model_proto())
    end = tokenizer.piece_to_id(IM_END)
    model.generation_config.update(
        bos_token_id=tokenizer.bos_id(),
        eos_token_id=end,
        pad_token_id=tokenizer.piece_to_id("<pad>"),
        do_sample=False,
        max_new_tokens=200,
    )
    model.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(tokenizer))
    specials = {"bos_token": "<s>", "eos_token": IM_END, "pad_token": "<pad>", "unk_token": "<unk>"}
    specials_map: dict[str, object] = {**specials, "additional_special_tokens": [IM_START, IM_END]}
    _write_json(folder / "special_tokens_map.json", specials_map)
    (folder / "README.md").write_text(MODEL_CARD, encoding="utf-8", newline="\n")


def _tokenizer_config(tokenizer: Any) -> dict[str, object]:
    special = ["<unk>", "<s>", "</s>", "<pad>", IM_START, IM_END]
    decoder = {
        str(tokenizer.piece_to_id(piece)): {
            "content": piece,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "single_word": False,
            "special": True,
        }
        for piece in special
    }
    return {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "add_bos_token": False,
        "add_eos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": "<s>",
        "eos_token": IM_END,
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "additional_special_tokens": [IM_START, IM_END],
        "added_tokens_decoder": decoder,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }


def _write_json(path: Path, data: dict[str, object]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8", newline="\n")
