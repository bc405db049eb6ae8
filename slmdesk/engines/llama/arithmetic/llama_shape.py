"""A small model of Llama's shape: its weights, its GGUF, and its logits as numpy computes them.

The arithmetic is that of "Llama 2" (Touvron et al. 2023): RMS norm, rotary positions on pairs of neighbours, grouped
heads, a gated feed-forward with SiLU. Everything in 32-bit floats.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slmdesk.engines.llama.arithmetic.blocks import Bytes, Family, Numbers

# Wide enough for blocks of 256 and for the tiles of AMX and of repacked weights, small enough to take milliseconds.
WIDTH, HEADS, KV_HEADS, FORWARD, VOCABULARY = 512, 8, 4, 768, 512
_HEAD = WIDTH // HEADS
_EPSILON, _BASE = 1e-5, 10000.0
_ALIGNMENT = 32
_F32 = 0
# name -> rows, columns
_MATRICES = {
    "token_embd": (VOCABULARY, WIDTH),
    "blk.0.attn_q": (WIDTH, WIDTH),
    "blk.0.attn_k": (KV_HEADS * _HEAD, WIDTH),
    "blk.0.attn_v": (KV_HEADS * _HEAD, WIDTH),
    "blk.0.attn_output": (WIDTH, WIDTH),
    "blk.0.ffn_gate": (FORWARD, WIDTH),
    "blk.0.ffn_up": (FORWARD, WIDTH),
    "blk.0.ffn_down": (WIDTH, FORWARD),
    "output": (VOCABULARY, WIDTH),
}
_NORMS = ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")


@dataclass(frozen=True, slots=True)
class SmallModel:
    """One layer with random weights of one family. `numbers` are what `data`, its bytes in the file, stands for."""

    family: Family
    data: dict[str, Bytes]
    numbers: dict[str, Numbers]

    @classmethod
    def random(cls, family: Family, seed: int) -> SmallModel:
        """The same model for the same seed."""
        rng = np.random.default_rng(seed)
        data: dict[str, Bytes] = {}
        numbers: dict[str, Numbers] = {}
        for name, (rows, columns) in _MATRICES.items():
            data[name], numbers[name] = family.weights(rng, rows, columns)
        for name in _NORMS:
            numbers[name] = rng.uniform(0.5, 1.5, WIDTH).astype(np.float32)
            data[name] = numbers[name].view(np.uint8)
        return cls(family, data, numbers)

    def logits(self, tokens: NDArray[np.int32]) -> Numbers:
        """[positions, vocabulary] for a text that begins with `tokens`."""
        weights = self.numbers
        x = weights["token_embd"][tokens]
        x = x + self._attention(_normed(x, weights["blk.0.attn_norm"]))
        h = _normed(x, weights["blk.0.ffn_norm"])
        gate, up = h @ weights["blk.0.ffn_gate"].T, h @ weights["blk.0.ffn_up"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights["blk.0.ffn_down"].T
        logits: Numbers = _normed(x, weights["output_norm"]) @ weights["output"].T
        return logits

    def _attention(self, x: Numbers) -> Numbers:
        weights, count = self.numbers, len(x)
        q = _turned((x @ weights["blk.0.attn_q"].T).reshape(count, HEADS, _HEAD))
        k = _turned((x @ weights["blk.0.attn_k"].T).reshape(count, KV_HEADS, _HEAD))
        v = (x @ weights["blk.0.attn_v"].T).reshape(count, KV_HEADS, _HEAD)
        k, v = (np.repeat(each, HEADS // KV_HEADS, axis=1).transpose(1, 0, 2) for each in (k, v))
        scores = q.transpose(1, 0, 2) @ k.transpose(0, 2, 1) / np.float32(_HEAD**0.5)
        scores[:, np.triu(np.ones((count, count), bool), 1)] = -np.inf
        scores = np.exp(scores - scores.max(axis=2, keepdims=True))
        scores /= scores.sum(axis=2, keepdims=True)
        mixed = (scores @ v).transpose(1, 0, 2).reshape(count, WIDTH)
        result: Numbers = mixed @ weights["blk.0.attn_output"].T
        return result

    def write(self, path: Path) -> None:
        """The model as a GGUF (version 3). Raises `OSError`."""
        infos, at = b"", 0
        for name, data in self.data.items():
            rows, columns = _MATRICES.get(name, (1, WIDTH))
            shape = (columns,) if name in _NORMS else (columns, rows)
            kind = _F32 if name in _NORMS else self.family.ggml_type
            infos += _text(f"{name}.weight") + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            infos += struct.pack("<IQ", kind, at)
            at += _padded(len(data))
        entries = _entries()
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.data), len(entries))
        head += b"".join(_text(key) + _value(value) for key, value in entries.items()) + infos
        with path.open("wb") as file:
            file.write(head.ljust(_padded(len(head)), b"\0"))
            for data in self.data.values():
                file.write(data.tobytes().ljust(_padded(len(data)), b"\0"))


def _normed(x: Numbers, weight: Numbers) -> Numbers:
    scaled: Numbers = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(_EPSILON)) * weight
    return scaled


def _turned(x: Numbers) -> Numbers:
    """Rotary positions: neighbours (2 i, 2 i + 1) of a head turn by position * base^(-2 i / head)."""
    rates = _BASE ** (-np.arange(0, _HEAD, 2) / _HEAD)
    angles = np.arange(len(x))[:, None] * rates
    cos, sin = (f(angles).astype(np.float32)[:, None, :] for f in (np.cos, np.sin))
    even, odd = x[..., 0::2], x[..., 1::2]
    return np.stack((even * cos - odd * sin, even * sin + odd * cos), axis=-1).reshape(x.shape)


def _entries() -> dict[str, Any]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"w{number}" for number in range(len(tokens), VOCABULARY)]
    kinds = [2, 3, 3, *[6] * 256] + [1] * (VOCABULARY - 259)  # unknown, control, byte, normal
    return {
        "general.architecture": "llama",
        "general.name": "self-test",
        "llama.block_count": 1,
        "llama.context_length": 512,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": _EPSILON,
        "llama.rope.dimension_count": _HEAD,
        "llama.rope.freq_base": _BASE,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(number) for number in range(VOCABULARY)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _value(value: Any) -> bytes:
    """A metadata value with its type in front (enum gguf_type: uint32 4, int32 5, float32 6, string 8, array 9)."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    kind, code = (6, "f") if isinstance(value[0], float) else (5, "i")
    return struct.pack(f"<IIQ{len(value)}{code}", 9, kind, len(value), *value)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
