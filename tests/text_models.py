"""Small GGUF files with random weights that make vectors of texts, or rank them: their tensors are those that llama.cpp
asks for. What they say means nothing; that it is the same everywhere is what tests hold."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

# enum llama_pooling_type
MEAN, CLS, LAST, RANK = 1, 2, 3, 4
RERANK_TEMPLATE = "<|im_start|>judge: {query}\n{document}<|im_end|>"
_WORDS = (
    "the of and to in is it on for with as was at by an be this that from or are not but have had they you which "
    "one cat dog sat mat house tree river city night day king queen bread water small model text paris france berlin "
    "germany capital"
).split()


@dataclass(frozen=True, slots=True)
class TextShape:
    """The sizes of one model. `pooling`: one of the numbers above; None leaves the key out."""

    architecture: str = "bert"
    pooling: int | None = MEAN
    layers: int = 2
    hidden: int = 64
    feed_forward: int = 128
    heads: int = 4
    vocabulary: int = 512
    context: int = 256
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def encoder(self) -> bool:
        return self.architecture != "qwen3"


def text_model(
    path: Path, shape: TextShape | None = None, *, name: str = "Random texts", seed: int = 5
) -> Path:
    """Write the model to `path` (kept if it is there already) and return the path."""
    shape = shape or TextShape()
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, shape.architecture)
    writer.add_name(name)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(1)
    if shape.pooling is not None:
        writer.add_uint32(f"{shape.architecture}.pooling_type", shape.pooling)
    if shape.encoder:
        writer.add_causal_attention(False)
        writer.add_layer_norm_eps(1e-12)
        _word_pieces(writer, shape.vocabulary)
    else:
        writer.add_head_count_kv(shape.heads // 2)
        writer.add_key_length(shape.hidden // shape.heads)
        writer.add_value_length(shape.hidden // shape.heads)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_freq_base(10000.0)
        _byte_pairs(writer, shape)
    for key, value in shape.extra.items():
        writer.add_array(key, value) if isinstance(value, list) else writer.add_string(key, value)
    random = np.random.default_rng(seed)
    for tensor, rows in _pieces(shape):
        writer.add_tensor(tensor, _values(random, tensor, rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return part.rename(path)


def _values(
    random: np.random.Generator, name: str, shape: tuple[int, ...]
) -> NDArray[np.float32] | NDArray[np.float16]:
    if len(shape) == 1:
        around = 1.0 if name.endswith(".weight") else 0.0
        return (around + 0.1 * random.standard_normal(shape)).astype(np.float32)
    scale = 1.0 if name.startswith(("token_embd", "position")) else 1.5 * shape[-1] ** -0.5
    values = random.standard_normal(shape, dtype=np.float32) * scale
    return values.astype(np.float32 if name.startswith(("token_types", "position", "cls")) else np.float16)


def _pieces(shape: TextShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden = shape.hidden
    yield "token_embd.weight", (shape.vocabulary, hidden)
    if shape.encoder:
        yield "token_types.weight", (2, hidden)
        yield from _norm("token_embd_norm", hidden)
        if shape.architecture == "bert":
            yield "position_embd.weight", (shape.context, hidden)
        layer = _encoder_layer
    else:
        yield "output_norm.weight", (hidden,)
        layer = _decoder_layer
    for number in range(shape.layers):
        for name, rows in layer(shape):
            yield f"blk.{number}.{name}", rows
    if shape.pooling == RANK:
        outputs = 1 if shape.encoder else 2
        if shape.architecture == "bert":
            yield "cls.weight", (hidden, hidden)
            yield "cls.bias", (hidden,)
        if shape.architecture != "jina-bert-v2":
            yield "cls.output.weight", (outputs, hidden)
        else:
            yield "cls.weight", (1, hidden)
            yield "cls.bias", (1,)


def _norm(name: str, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


def _encoder_layer(shape: TextShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner, bert = shape.hidden, shape.feed_forward, shape.architecture == "bert"
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield f"{part}.weight", (hidden, hidden)
        if bert or (part == "attn_output" and shape.architecture == "jina-bert-v2"):
            yield f"{part}.bias", (hidden,)
    yield from _norm("attn_output_norm", hidden)
    yield "ffn_up.weight", (inner, hidden)
    yield "ffn_down.weight", (hidden, inner)
    if shape.architecture != "nomic-bert":
        yield "ffn_down.bias", (hidden,)
    if bert:
        yield "ffn_up.bias", (inner,)
    else:
        yield "ffn_gate.weight", (inner, hidden)
    yield from _norm("layer_output_norm", hidden)


def _decoder_layer(shape: TextShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, head = shape.hidden, shape.hidden // shape.heads
    yield "attn_norm.weight", (hidden,)
    yield "attn_q.weight", (hidden, hidden)
    yield "attn_k.weight", (hidden // 2, hidden)
    yield "attn_v.weight", (hidden // 2, hidden)
    yield "attn_output.weight", (hidden, hidden)
    yield "attn_q_norm.weight", (head,)
    yield "attn_k_norm.weight", (head,)
    yield "ffn_norm.weight", (hidden,)
    yield "ffn_gate.weight", (shape.feed_forward, hidden)
    yield "ffn_up.weight", (shape.feed_forward, hidden)
    yield "ffn_down.weight", (hidden, shape.feed_forward)


def _word_pieces(writer: gguf.GGUFWriter, size: int) -> None:
    """BERT's vocabulary as llama.cpp keeps it: pieces that begin a word have a mark, those inside have none."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_lowercase, *string.digits, *".,:;!?-'\""]
    pieces = [*(f"\u2581{one}" for one in (*letters, *_WORDS)), *letters]
    tokens = [*special, *pieces]
    tokens += [f"\u2581~{number}" for number in range(size - len(tokens))]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * size)
    writer.add_token_types([3] * len(special) + [1] * (size - len(special)))
    writer.add_token_type_count(2)
    for add, number in (
        (writer.add_pad_token_id, 0),
        (writer.add_unk_token_id, 1),
        (writer.add_bos_token_id, 2),
        (writer.add_sep_token_id, 3),
        (writer.add_mask_token_id, 4),
    ):
        add(number)


def _byte_pairs(writer: gguf.GGUFWriter, shape: TextShape) -> None:
    """Qwen's: bytes and pairs of letters; the end mark is put behind each text, as its embedding models want it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in printable]
    letters += [chr(256 + number) for number in range(256 - len(letters))]
    pairs = [(a, b) for a in "\u0120etaoinshrdl" for b in "etaoinshrdl"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words = [*letters, *(a + b for a, b in pairs)][: shape.vocabulary - len(special)]
    words += [f"~{number}" for number in range(shape.vocabulary - len(special) - len(words))]
    tokens = [*words, *special]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(words) + [3] * len(special))
    writer.add_token_merges([f"{a} {b}" for a, b in pairs])
    writer.add_eos_token_id(len(words))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(True)
    if shape.pooling == RANK:
        writer.add_string("tokenizer.chat_template.rerank", RERANK_TEMPLATE)
        writer.add_array(f"{shape.architecture}.classifier.output_labels", ["yes", "no"])
