"""Llama-shaped GGUF files with random weights, made on the spot: speed does not depend on what the weights say."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# llama.cpp's numbers of whole-file types (enum llama_ftype).
FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama model. Defaults: the 135M shape of the speed comparison."""

    layers: int = 30
    hidden: int = 576
    feed_forward: int = 1536
    heads: int = 9
    kv_heads: int = 3
    vocabulary: int = 49152
    context: int = 8192


TINY = Shape(layers=2, hidden=64, feed_forward=128, heads=2, kv_heads=1, vocabulary=512, context=2048)


def random_llama_gguf(
    path: Path, shape: Shape | None = None, *, quant: str = "Q4_K_M", seed: int = 7
) -> Path:
    """Write a random Llama GGUF to `path` (kept if it is there already) and return the path.

    Tokens: `<unk>`, `<s>`, `</s>`, `<|im_start|>`, `<|im_end|>`, 256 bytes, then made-up words. The rows of the
    special tokens are zero in the (shared) output matrix, so that the top of the logits never ends a stream.
    `quant` is "F16" or any key of `FILE_TYPES`; the latter is made by llama.cpp itself.
    """
    shape = shape or Shape()
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    full = path if quant == "F16" else path.with_suffix(".f16.tmp")
    _write(full, shape, seed)
    if quant != "F16":
        _quantize(full, path, FILE_TYPES[quant])
        full.unlink()
    return path


def vocabulary(size: int) -> tuple[list[bytes], list[float], list[int]]:
    """A SentencePiece-style vocabulary of `size` different tokens: texts, scores, types."""
    kinds = gguf.TokenType
    special = [b"<unk>", b"<s>", b"</s>", b"<|im_start|>", b"<|im_end|>"]
    tokens = list(special)
    types = [int(kinds.UNKNOWN), *[int(kinds.CONTROL)] * 4]
    tokens += [f"<0x{byte:02X}>".encode() for byte in range(256)]
    types += [int(kinds.BYTE)] * 256
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words: list[str] = ["\u2581", *letters, *(f"\u2581{letter}" for letter in letters)]
    words += [a + b for a in letters for b in letters]
    number = 0
    while len(tokens) + len(words) < size:
        words.append(f"\u2581{_spell(number, letters)}")
        number += 1
    words = words[: size - len(tokens)]
    tokens += [word.encode() for word in words]
    types += [int(kinds.NORMAL)] * len(words)
    scores = [0.0] * (len(special) + 256) + [-float(index) for index in range(len(words))]
    return tokens, scores, types


def _spell(number: int, letters: str) -> str:
    """A made-up word of four or more letters, different for every number."""
    word = ""
    number += len(letters) ** 3
    while number:
        number, digit = divmod(number, len(letters))
        word = letters[digit] + word
    return word


def _write(path: Path, shape: Shape, seed: int) -> None:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> NDArray[np.float16]:
        values: NDArray[np.float32] = random.standard_normal((rows, columns), dtype=np.float32)
        values *= columns**-0.5
        return values.astype(np.float16)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Random Llama")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.hidden // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(FILE_TYPES["F16"])
    writer.add_vocab_size(shape.vocabulary)
    tokens, scores, types = vocabulary(shape.vocabulary)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(4)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)

    head = shape.hidden // shape.heads
    embedding = matrix(shape.vocabulary, shape.hidden) * np.float16(4)
    embedding[:5] = 0
    writer.add_tensor(
        "token_embd.weight", embedding
    )  # also the output matrix, as in the small models of this shape
    writer.add_tensor("output_norm.weight", np.ones(shape.hidden, np.float32))
    for layer in range(shape.layers):
        name = f"blk.{layer}"
        writer.add_tensor(f"{name}.attn_norm.weight", np.ones(shape.hidden, np.float32))
        writer.add_tensor(f"{name}.ffn_norm.weight", np.ones(shape.hidden, np.float32))
        writer.add_tensor(f"{name}.attn_q.weight", matrix(shape.hidden, shape.hidden))
        writer.add_tensor(f"{name}.attn_k.weight", matrix(shape.kv_heads * head, shape.hidden))
        writer.add_tensor(f"{name}.attn_v.weight", matrix(shape.kv_heads * head, shape.hidden))
        writer.add_tensor(f"{name}.attn_output.weight", matrix(shape.hidden, shape.hidden))
        writer.add_tensor(f"{name}.ffn_gate.weight", matrix(shape.feed_forward, shape.hidden))
        writer.add_tensor(f"{name}.ffn_up.weight", matrix(shape.feed_forward, shape.hidden))
        writer.add_tensor(f"{name}.ffn_down.weight", matrix(shape.hidden, shape.feed_forward))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _quantize(source: Path, target: Path, file_type: int) -> None:
    import llama_cpp.llama_cpp as llama

    @llama.llama_log_callback  # type: ignore[untyped-decorator]
    def quiet(_level: int, _text: bytes, _data: Any) -> None:
        return

    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype = file_type
    result = llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    if result != 0:
        raise RuntimeError(f"llama_model_quantize gave {result} for {source}")
