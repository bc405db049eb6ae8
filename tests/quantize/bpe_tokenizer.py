"""SmolLM2's tokenizer as its publisher keeps it, put together from what its GGUF holds: its tokens and merges."""

from __future__ import annotations

import json
from pathlib import Path

from gguf import GGUFReader

_CONTROL = 3  # llama.cpp's number for tokens that are no text
_PIECES = [
    {"type": "Digits", "individual_digits": True},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
]
_BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def write_tokenizer(model: Path, folder: Path) -> Path:
    """tokenizer.json and tokenizer_config.json in `folder`, as transformers reads them."""
    fields = GGUFReader(model).fields

    def texts(key: str) -> list[str]:
        field = fields[key]
        return [bytes(field.parts[at]).decode() for at in field.data]

    tokens, merges = texts("tokenizer.ggml.tokens"), texts("tokenizer.ggml.merges")
    kinds = fields["tokenizer.ggml.token_type"]
    control = [number for number, at in enumerate(kinds.data) if int(kinds.parts[at][0]) == _CONTROL]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": number, "content": tokens[number], **flags, "special": True} for number in control]
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _PIECES},
        "post_processor": None,
        "decoder": _BYTES,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": merges,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(whole, ensure_ascii=False), "utf-8")
    ends = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    told = {"tokenizer_class": "GPT2TokenizerFast", "model_max_length": 512, **ends}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), "utf-8")
    return folder
