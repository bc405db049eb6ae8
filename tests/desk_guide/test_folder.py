"""The built-in model as it ships: folder, GGUF, chat template."""

from __future__ import annotations

import json
import struct
from typing import Any

import gguf
import pytest
from guide_corpus import GGUF_FILE, RESOURCES
from jinja2.sandbox import ImmutableSandboxedEnvironment


@pytest.fixture(scope="module")
def reader() -> Any:
    return gguf.GGUFReader(GGUF_FILE)


def _config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads((RESOURCES / "config.json").read_text(encoding="utf-8"))
    return config


def _tensors() -> dict[str, dict[str, Any]]:
    with (RESOURCES / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, dict[str, Any]] = json.loads(file.read(length))
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def test_sizes_suit_every_k_quant() -> None:
    config = _config()
    assert config["hidden_size"] % 256 == 0
    assert config["intermediate_size"] % 256 == 0
    for name, entry in _tensors().items():
        assert entry["dtype"] == "F16", name
        if len(entry["shape"]) == 2:
            assert entry["shape"][1] % 256 == 0, name


def test_it_is_as_small_as_it_says() -> None:
    count = 0
    for entry in _tensors().values():
        size = 1
        for side in entry["shape"]:
            size *= side
        count += size
    assert 4_000_000 <= count <= 5_500_000


def test_gguf_rows_suit_every_k_quant(reader: Any) -> None:
    matrices = [tensor for tensor in reader.tensors if len(tensor.shape) == 2]
    assert len(matrices) > 25
    assert [tensor.name for tensor in matrices if tensor.shape[0] % 256] == []


def test_gguf_says_what_it_is(reader: Any) -> None:
    fields = {
        key: reader.fields[key].contents() for key in reader.fields if not key.startswith("tokenizer.ggml.")
    }
    assert fields["general.name"] == "Desk Guide"
    assert fields["general.license"] == "apache-2.0"
    assert fields["general.architecture"] == "llama"
    assert fields["llama.context_length"] == 2048
    config = json.loads((RESOURCES / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert fields["tokenizer.chat_template"] == config["chat_template"]


def test_gguf_ends_a_turn_with_the_template_mark(reader: Any) -> None:
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    end = reader.fields["tokenizer.ggml.eos_token_id"].contents()
    assert tokens[end] == "<|im_end|>"
    assert _config()["eos_token_id"] == end


def test_template_renders_in_a_sandbox() -> None:
    source = json.loads((RESOURCES / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    template = ImmutableSandboxedEnvironment().from_string(source)
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "  What is GGUF?\n"},
        {"role": "assistant", "content": "A file format."},
        {"role": "user", "content": "Thanks"},
    ]
    assert template.render(messages=messages, add_generation_prompt=True) == (
        "<|im_start|>system\nBe short.<|im_end|>\n"
        "<|im_start|>user\nWhat is GGUF?<|im_end|>\n"
        "<|im_start|>assistant\nA file format.<|im_end|>\n"
        "<|im_start|>user\nThanks<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert template.render(messages=messages[:1], add_generation_prompt=False).endswith("<|im_end|>\n")


def test_model_card_names_the_limits() -> None:
    card = (RESOURCES / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "not** a general\nassistant" in card
