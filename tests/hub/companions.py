"""What lies beside a model in real repositories and is none itself, under names that do not say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

COMPANIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "head/guide-F16.gguf": ("qwen35", {"qwen35.nextn_predict_layers": 1}, "blk.24.attn_norm.weight"),
    "mtp-guide-F16.gguf": ("qwen35", {"qwen35.nextn_predict_layers": 1}, "blk.24.nextn.eh_proj.weight"),
    "guide-style-F16.gguf": (
        "llama",
        {"general.type": "adapter", "adapter.type": "lora"},
        "blk.0.attn_q.lora_a",
    ),
    "guide-eyes-F16.gguf": ("clip", {"clip.has_vision_encoder": True}, "v.patch_embd.weight"),
    "guide-search-F16.gguf": ("bert", {"bert.pooling_type": 2}, "token_embd.weight"),
}
KINDS = {
    "head/guide-F16.gguf": "draft",
    "mtp-guide-F16.gguf": "draft",
    "guide-style-F16.gguf": "adapter",
    "guide-eyes-F16.gguf": "projector",
    "guide-search-F16.gguf": "other",
}


def write_companions(folder: Path) -> dict[str, Path]:
    """The files by their names on the hub, each a sound GGUF of a few kilobytes with F16 as its quant."""
    made: dict[str, Path] = {}
    for name, (architecture, entries, tensor) in COMPANIONS.items():
        path = made[name] = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_file_type(1)
        for key, value in entries.items():
            add = {bool: writer.add_bool, int: writer.add_uint32}.get(type(value), writer.add_string)
            add(key, value)
        writer.add_token_list(
            [f"token {number}" for number in range(5000)]
        )  # longer than the bytes looked at first
        writer.add_tensor(tensor, np.zeros((32, 64), np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return made
