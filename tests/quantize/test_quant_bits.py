"""The bits of the table of quants are what llama.cpp makes of a model of 8 billion parameters."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import gguf as peer
import numpy as np
import pytest

from slmdesk.formats.ggml_types import TENSOR_TYPES
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import ForecastSpec, MatrixUse
from slmdesk.quantize.targets import TARGETS

LAYERS, WIDTH, INNER, HEADS, KV_HEADS, HEAD, WORDS = 32, 4096, 14336, 32, 8, 128, 128_256


def llama_8b(path: Path) -> None:
    """A file with the header of Llama 3.1 8B, and no weights but a hole as large as they are."""
    writer = peer.GGUFWriter(path, "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_file_type(1)
    writer.add_vocab_size(WORDS)
    shapes = {"token_embd": (WORDS, WIDTH), "output": (WORDS, WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm": (WIDTH,),
            f"blk.{layer}.attn_q": (HEADS * HEAD, WIDTH),
            f"blk.{layer}.attn_k": (KV_HEADS * HEAD, WIDTH),
            f"blk.{layer}.attn_v": (KV_HEADS * HEAD, WIDTH),
            f"blk.{layer}.attn_output": (WIDTH, HEADS * HEAD),
            f"blk.{layer}.ffn_norm": (WIDTH,),
            f"blk.{layer}.ffn_gate": (INNER, WIDTH),
            f"blk.{layer}.ffn_up": (INNER, WIDTH),
            f"blk.{layer}.ffn_down": (WIDTH, INNER),
        }
    size = 0
    for name, shape in shapes.items():
        kind = np.dtype(np.float16 if len(shape) > 1 else np.float32)
        count = math.prod(shape) * kind.itemsize
        writer.add_tensor_info(f"{name}.weight", shape, kind, count)
        size += count
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, path.stat().st_size + size + 64)


@pytest.mark.skipif(sys.platform == "win32", reason="a file with a hole takes its whole size there")
async def test_bits_are_those_of_the_dry_run(tmp_path: Path) -> None:
    path = tmp_path / "llama-8b.gguf"
    llama_8b(path)
    header = read_header(path)
    counts = {tensor.name: math.prod(tensor.shape) for tensor in header.tensors if len(tensor.shape) > 1}
    kinds = {kind.name: kind for kind in TENSOR_TYPES.values()}
    layers = sum(count for name, count in counts.items() if name.startswith("blk."))
    for calibrated in (True, False):
        names = [quant.name for quant in TARGETS.values() if quant.gains_by_matrix == calibrated]
        matrix = MatrixUse(dataset="x") if calibrated else None
        found = await run_child(ForecastSpec(str(path), names, matrix=matrix, timed=False))
        for forecast, name in zip(found["quants"], names, strict=True):
            quant, made = TARGETS[name], {key: kinds[kind.upper()] for key, kind in forecast["types"].items()}
            bits = sum(
                count * made[key].size * 8 / made[key].block
                for key, count in counts.items()
                if key.startswith("blk.")
            )
            if name == "MXFP4":  # which this is no model for
                assert forecast["bytes"] * 8 / header.parameters == pytest.approx(8.5, abs=0.01)
                continue
            assert forecast["bytes"] * 8 / header.parameters == pytest.approx(quant.bits, abs=0.001), name
            assert bits / layers == pytest.approx(quant.layer_bits, abs=0.0001), name
            assert quant.tensor in {made[key].name for key in counts if key.startswith("blk.")}, name
