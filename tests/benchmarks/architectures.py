"""GGUF files of many architectures with made-up weights: memory depends on shapes and types, not on what is in them.

The tensors of each architecture are those that llama.cpp asks for when it loads one. Quantized weights are blocks of
random bytes with small scales, which costs no quantizing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.models import CHATML, vocabulary

_PATTERN_BLOCKS = 4096
# Where the half-precision scales stand in a block of a type, in bytes.
_SCALES = {"Q4_0": (0,), "Q8_0": (0,), "Q4_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "Q5_K": (0, 2)}
_WORDS_AT_ONCE = 26 * 26


@dataclass(frozen=True, slots=True)
class Sizes:
    """One model. `quant` is the type of its matrices ("F16" or a key of `_SCALES`)."""

    architecture: str
    quant: str = "Q4_K"
    layers: int = 8
    hidden: int = 512
    feed_forward: int = 1536
    heads: int = 8
    kv_heads: int = 2
    head: int = 0  # size of one head; 0: hidden / heads
    vocabulary: int = 32000
    tokenizer: str = "llama"  # or "gpt2"
    context: int = 8192
    tied: bool = True  # one matrix for embedding and output
    window: int = 0
    pattern: int = 0  # every so many layers one without the window
    experts: int = 0
    experts_used: int = 0
    state: int = 16  # of recurrent layers
    groups: int = 1
    attention_layers: tuple[int, ...] = ()  # of hybrids that mix both kinds
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def head_size(self) -> int:
        return self.head or self.hidden // self.heads


# (name, shape with the row length last, is it a matrix that gets quantized)
Piece = tuple[str, tuple[int, ...], bool]


def write_model(path: Path, sizes: Sizes, *, seed: int = 3) -> Path:
    """Write the model to `path` (kept if it is there already) and return the path."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, sizes.architecture)
    _add_keys(writer, sizes)
    _add_tokenizer(writer, sizes)
    random = np.random.default_rng(seed)
    patterns: dict[str, NDArray[np.uint8]] = {}
    for name, shape, matrix in _pieces(sizes):
        kind = _type_of(name, shape, sizes) if matrix else "F32"
        if kind in {"F32", "F16"}:
            dtype: Any = np.float32 if kind == "F32" else np.float16
            scale = 0.02 if matrix else 1.0
            writer.add_tensor(name, np.full(shape, scale, dtype))
            continue
        pattern = patterns.setdefault(kind, _blocks(kind, random))
        type_ = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[type_]
        row = shape[-1] // block * size
        count = int(np.prod(shape[:-1])) * row
        data = np.resize(pattern, count).reshape(*shape[:-1], row)
        writer.add_tensor(name, data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return part.rename(path)


def _type_of(name: str, shape: tuple[int, ...], sizes: Sizes) -> str:
    """What a quantizer of the same name would choose: more bits for embeddings, F16 where rows are too short."""
    block = 256 if sizes.quant.endswith("_K") else 32
    if sizes.quant == "F16" or shape[-1] % block:
        return "F16"
    if sizes.quant in {"Q4_K", "Q5_K"} and ("token_embd" in name or name == "output.weight"):
        return "Q6_K"
    if sizes.quant == "Q4_K" and "ffn_down.weight" in name and int(name.split(".")[1]) % 2:
        return "Q6_K"
    return sizes.quant


def _blocks(kind: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """Blocks of a quantized type: random bytes, scales of 0.001."""
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]
    blocks = random.integers(0, 256, (_PATTERN_BLOCKS, size), np.uint8)
    scale = np.frombuffer(np.float16(0.001).tobytes(), np.uint8)
    for at in _SCALES[kind]:
        blocks[:, at : at + 2] = scale
    return blocks.reshape(-1)


def _add_keys(writer: gguf.GGUFWriter, sizes: Sizes) -> None:
    name = sizes.architecture
    writer.add_name("Made-up model")
    writer.add_context_length(sizes.context)
    writer.add_embedding_length(sizes.hidden)
    writer.add_block_count(sizes.layers)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(sizes.vocabulary)
    if name in {"mamba", "mamba2"}:
        writer.add_feed_forward_length(0)
        writer.add_head_count(0)
    else:
        writer.add_feed_forward_length(sizes.feed_forward)
        writer.add_head_count(sizes.heads)
        attends = set(sizes.attention_layers)
        per_layer = [sizes.kv_heads if layer in attends else 0 for layer in range(sizes.layers)]
        writer.add_head_count_kv(per_layer if attends else sizes.kv_heads)
        writer.add_rope_dimension_count(sizes.head_size)
        if sizes.head:
            writer.add_key_length(sizes.head)
            writer.add_value_length(sizes.head)
    if sizes.window:
        writer.add_sliding_window(sizes.window)
        if sizes.pattern:
            writer.add_uint32(f"{name}.attention.sliding_window_pattern", sizes.pattern)
    _add_special_keys(writer, sizes)
    writer.add_file_type(1)


def _add_special_keys(writer: gguf.GGUFWriter, sizes: Sizes) -> None:
    name = sizes.architecture
    if name in {"mamba", "mamba2", "falcon-h1"}:
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * sizes.hidden)
        writer.add_ssm_state_size(sizes.state)
        writer.add_ssm_time_step_rank(_ranks(sizes))
        if name != "mamba":
            writer.add_ssm_group_count(sizes.groups)
    if name == "lfm2":
        writer.add_shortconv_l_cache(3)
    if sizes.experts:
        writer.add_expert_count(sizes.experts)
        writer.add_expert_used_count(sizes.experts_used)
        writer.add_expert_feed_forward_length(sizes.feed_forward)
    if name == "granite":
        for add in (writer.add_logit_scale, writer.add_residual_scale, writer.add_embedding_scale):
            add(1.0)
        writer.add_attention_scale(sizes.head_size**-0.5)
    if name == "phi3":
        writer.add_rope_scaling_orig_ctx_len(sizes.context)


def _ranks(sizes: Sizes) -> int:
    """Time-step rank: of Mamba hidden / 16, of its successors the heads of size 64."""
    return sizes.hidden // 16 if sizes.architecture == "mamba" else 2 * sizes.hidden // 64


def _add_tokenizer(writer: gguf.GGUFWriter, sizes: Sizes) -> None:
    writer.add_tokenizer_model(sizes.tokenizer)
    if sizes.tokenizer == "llama":
        tokens, scores, types = vocabulary(sizes.vocabulary)
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)
        writer.add_token_types(types)
        writer.add_unk_token_id(0)
        writer.add_bos_token_id(1)
    else:
        words, kinds, merges = _byte_pairs(sizes.vocabulary)
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(words)
        writer.add_token_types(kinds)
        writer.add_token_merges(merges)
        writer.add_bos_token_id(sizes.vocabulary - 2)
    writer.add_eos_token_id(4 if sizes.tokenizer == "llama" else sizes.vocabulary - 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def _byte_pairs(size: int) -> tuple[list[str], list[int], list[str]]:
    """A byte-level vocabulary of `size` tokens as GPT-2's: tokens, types, merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in printable]
    letters += [chr(256 + number) for number in range(256 - len(letters))]
    plain = [chr(code) for code in range(97, 123)]
    words, merges = list(letters), []
    level = [a + b for a in plain for b in plain]
    merges += [f"{a} {b}" for a in plain for b in plain]
    while True:
        words += level
        if len(words) >= size - 2:
            break
        merges += [f"{word} {letter}" for word in level for letter in plain]
        level = [word + letter for word in level for letter in plain]
    words = words[: size - 2]
    merges = merges[: len(words) - 256]
    words += ["<|im_start|>", "<|im_end|>"]
    return words, [1] * (size - 2) + [3, 3], merges


def _pieces(sizes: Sizes) -> Iterator[Piece]:
    hidden = sizes.hidden
    yield "token_embd.weight", (sizes.vocabulary, hidden), True
    yield (
        ("token_embd_norm.weight" if sizes.architecture == "lfm2" else "output_norm.weight"),
        (hidden,),
        False,
    )
    if not sizes.tied:
        yield "output.weight", (sizes.vocabulary, hidden), True
    for layer in range(sizes.layers):
        for name, shape, matrix in _layer(sizes, layer):
            yield f"blk.{layer}.{name}", shape, matrix


def _layer(sizes: Sizes, layer: int) -> Iterator[Piece]:
    name, hidden = sizes.architecture, sizes.hidden
    if name != "olmo2":
        yield "attn_norm.weight", (hidden,), False
    if name in {"mamba", "mamba2", "falcon-h1"}:
        yield from _state_space(sizes)
    if name in {"mamba", "mamba2"}:
        return
    if name == "lfm2" and layer not in sizes.attention_layers:
        yield "shortconv.conv.weight", (hidden, 3), False
        yield "shortconv.in_proj.weight", (3 * hidden, hidden), True
        yield "shortconv.out_proj.weight", (hidden, hidden), True
    else:
        yield from _attention(sizes)
    if name in {"gemma2", "gemma3", "olmo2"}:
        yield "post_attention_norm.weight", (hidden,), False
        yield "post_ffw_norm.weight", (hidden,), False
    yield from _feed_forward(sizes)


def _attention(sizes: Sizes) -> Iterator[Piece]:
    name, hidden, head = sizes.architecture, sizes.hidden, sizes.head_size
    queries, keys = sizes.heads * head, sizes.kv_heads * head
    if name == "phi3":
        yield "attn_qkv.weight", (queries + 2 * keys, hidden), True
    else:
        for letter, rows in (("q", queries), ("k", keys), ("v", keys)):
            yield f"attn_{letter}.weight", (rows, hidden), True
            if name == "qwen2":
                yield f"attn_{letter}.bias", (rows,), False
    yield "attn_output.weight", (hidden, queries), True
    if name in {"qwen3", "qwen3moe", "gemma3", "lfm2"}:
        yield "attn_q_norm.weight", (head,), False
        yield "attn_k_norm.weight", (head,), False
    elif name == "olmo2":
        yield "attn_q_norm.weight", (queries,), False
        yield "attn_k_norm.weight", (keys,), False


def _feed_forward(sizes: Sizes) -> Iterator[Piece]:
    name, hidden, inner = sizes.architecture, sizes.hidden, sizes.feed_forward
    if name != "olmo2":
        yield ("ffn_norm" if name == "falcon-h1" else "ffn_norm.weight"), (hidden,), False
    if sizes.experts:
        yield "ffn_gate_inp.weight", (sizes.experts, hidden), False
        yield "ffn_gate_exps.weight", (sizes.experts, inner, hidden), True
        yield "ffn_up_exps.weight", (sizes.experts, inner, hidden), True
        yield "ffn_down_exps.weight", (sizes.experts, hidden, inner), True
        return
    if name == "phi3":
        yield "ffn_up.weight", (2 * inner, hidden), True
    else:
        yield "ffn_gate.weight", (inner, hidden), True
        yield "ffn_up.weight", (inner, hidden), True
    yield "ffn_down.weight", (hidden, inner), True


def _state_space(sizes: Sizes) -> Iterator[Piece]:
    hidden, inner, state, ranks = sizes.hidden, 2 * sizes.hidden, sizes.state, _ranks(sizes)
    if sizes.architecture == "mamba":
        yield "ssm_in.weight", (2 * inner, hidden), True
        yield "ssm_conv1d.weight", (inner, 4), False
        yield "ssm_conv1d.bias", (inner,), False
        yield "ssm_x.weight", (ranks + 2 * state, inner), True
        yield "ssm_dt.weight", (inner, ranks), True
        yield "ssm_dt.bias", (inner,), False
        yield "ssm_a", (inner, state), False
        yield "ssm_d", (inner,), False
    else:
        wide = inner + 2 * sizes.groups * state
        yield "ssm_in.weight", (inner + wide + ranks, hidden), True
        yield "ssm_conv1d.weight", (wide, 4), False
        yield "ssm_conv1d.bias", (wide,), False
        yield "ssm_dt.bias", (ranks,), False
        yield "ssm_a", (ranks, 1), False
        yield "ssm_d", (ranks, 1), False
        yield "ssm_norm.weight", (sizes.groups, inner // sizes.groups), False
    yield "ssm_out.weight", (hidden, inner), True
