"""About how large the GGUF of a Hugging Face folder becomes: weights by the converter's rules, and its vocabulary."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.formats.safetensors import Tensor
    from slmdesk.quantize.hf_folder import HfFolder

_WIDE = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}
_BLOCK = 32  # of Q8_0; shorter rows become F16
_KEYS, _INFO = 4096, 96  # bytes of metadata without the vocabulary, and of each tensor's entry
_LENGTH, _TYPE, _SCORE = 8, 4, 4  # what stands beside each token
_JSON_LIMIT = 64 * 1024 * 1024
# Kept in F32 by the converter whatever is asked for (conversion/base.py, prepare_tensors): rows alone, norms, and what
# routes to experts.
_KEPT_WIDE = ("norm.weight", "gate_inp.weight", "mlp.gate.weight", "router.weight")
_SEEING = (
    "vision",
    "visual",
    "image",
    "audio",
    "speech",
    "multi_modal_projector",
    "mm_projector",
    "connector",
    "mlp1",
    "patch_embed",
    "aligner",
    "resampler",
)


def converted_bytes(folder: HfFolder, out_type: str, *, projector: bool = False) -> int:
    """`out_type` "f32", "f16", "bf16" or "q8_0". Of a model that sees or hears either the text part or the projector,
    told apart by the names of tensors. Blocking: tokenizer files are read."""
    tensors = [tensor for header in folder.headers.values() for tensor in header.tensors]
    seeing = [any(word in tensor.name for word in _SEEING) for tensor in tensors]
    own = [tensor for tensor, sees in zip(tensors, seeing, strict=True) if sees == projector]
    weights = sum(
        # A projector's embeddings stay F32.
        _tensor_bytes(tensor, "f32" if projector and "embed" in tensor.name else out_type) + _INFO
        for tensor in own
    )
    return int(weights) + _KEYS + (0 if projector else _vocabulary_bytes(folder.path))


def _tensor_bytes(tensor: Tensor, out_type: str) -> float:
    count = math.prod(tensor.shape)
    if len(tensor.shape) < 2 or tensor.name.endswith(_KEPT_WIDE):
        return 4.0 * count
    if out_type == "q8_0" and tensor.shape[-1] % _BLOCK:
        return 2.0 * count
    return _WIDE[out_type] * count


def _vocabulary_bytes(folder: Path) -> int:
    """Of tokens with their types, and scores or merges."""
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        file = folder / "tokenizer.json"
        if file.stat().st_size <= _JSON_LIMIT:
            model = json.loads(file.read_text("utf-8"))["model"]
            words, merges = model["vocab"], model.get("merges") or []
            tokens = words if isinstance(words, dict) else [word for word, _ in words]
            beside = _LENGTH + _TYPE + (0 if merges else _SCORE)
            texts = (merge if isinstance(merge, str) else " ".join(merge) for merge in merges)
            return sum(len(token.encode()) + beside for token in tokens) + sum(
                len(text.encode()) + _LENGTH for text in texts
            )
    with suppress(OSError):
        # SentencePiece keeps each token with its score in about as many bytes.
        return int((folder / "tokenizer.model").stat().st_size * 1.5)
    return 0
