"""LoRA adapters and models for tests: written by gguf-py, computed by llama.cpp in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

_LOGITS = Path(__file__).with_name("adapter_logits.py")


def logits(model: Path, output: Path, *adapters: tuple[Path, float]) -> NDArray[np.float32]:
    """Of a fixed row of tokens: shape (tokens, vocabulary)."""
    named = [f"{path}={scale}" for path, scale in adapters]
    done = subprocess.run(
        [sys.executable, str(_LOGITS), str(model), str(output), *named], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-2000:]
    values: NDArray[np.float32] = np.load(output)
    return values


def unpacked(source: Path) -> dict[str, NDArray[np.float32]]:
    """All weights as float32, shape (rows, columns) or (columns,)."""
    return {
        str(tensor.name): gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        for tensor in gguf.GGUFReader(source).tensors
    }


def merged(source: Path, target: Path, adapter: Path, scale: float) -> Path:
    """The model with the adapter in its weights, in F32: W + scale · alpha / rank · B·A."""
    reader = gguf.GGUFReader(adapter)
    parts = {str(tensor.name): np.array(tensor.data, np.float32) for tensor in reader.tensors}
    alpha = float(reader.fields[gguf.Keys.Adapter.LORA_ALPHA].contents())
    changes = {}
    for name in (name.removesuffix(".lora_a") for name in parts if name.endswith(".lora_a")):
        a, b = parts[f"{name}.lora_a"], parts[f"{name}.lora_b"]
        changes[name] = np.float32(scale * alpha / a.shape[0]) * (b @ a)
    return as_f32(source, target, changes)


def as_f32(source: Path, target: Path, changes: Mapping[str, NDArray[np.float32]] | None = None) -> Path:
    """The same model with all weights in F32, these added to them."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in {"general.architecture", "general.file_type"}:
            continue
        inner = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    writer.add_file_type(0)
    for name, values in unpacked(source).items():
        added = (changes or {}).get(name)
        writer.add_tensor(name, values if added is None else values + added)
    _finish(writer)
    return target


def write_adapter(
    path: Path,
    base: Path,
    names: Iterable[str],
    *,
    rank: int = 4,
    alpha: float = 6.0,
    seed: int = 5,
    strength: float = 0.05,
    architecture: str = "llama",
    kind: str = "lora",
) -> Path:
    """A random adapter in F32 for these weights of a model; of the embeddings the rank stands first in both factors."""
    random = np.random.default_rng(seed)
    shapes = {str(t.name): tuple(int(n) for n in t.shape) for t in gguf.GGUFReader(base).tensors}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, kind)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name in names:
        columns, rows = shapes[name]
        a = random.standard_normal((rank, columns), dtype=np.float32) * np.float32(strength)
        b = random.standard_normal((rows, rank), dtype=np.float32) * np.float32(strength)
        if name.startswith("token_embd"):
            writer.add_tensor(f"{name}.lora_a", b)
            writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(a.T))
        else:
            writer.add_tensor(f"{name}.lora_a", a)
            writer.add_tensor(f"{name}.lora_b", b)
    _finish(writer)
    return path


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
