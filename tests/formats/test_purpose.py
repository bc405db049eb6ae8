"""Files that are no chat models say what they are, from their header alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.host import start_engine
from slmdesk.formats.gguf import read_header
from slmdesk.formats.pooling import TextModel
from slmdesk.formats.purpose import not_for_chat, purpose_of
from tests.asking import spec_of


def write(path: Path, architecture: str, values: dict[str, Any]) -> Path:
    """A small GGUF file with these entries and one tensor."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in values.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}.get(type(value))
        (add or writer.add_string)(key, value)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# architecture, entries, a word of what the file is called
OTHERS: list[tuple[str, dict[str, Any], str]] = [
    ("bert", {"bert.pooling_type": 2}, "embedding"),
    ("bert", {}, "embedding"),
    ("nomic-bert", {}, "embedding"),
    ("qwen3", {"qwen3.pooling_type": 3}, "embedding"),
    ("qwen3", {"qwen3.pooling_type": 4}, "ranks"),
    ("t5", {}, "T5"),
    ("t5encoder", {}, "embedding"),
    ("llada", {}, "diffusion"),
    ("llama", {"diffusion.shift_logits": True}, "diffusion"),
    ("llama", {"llama.attention.causal": False}, "encoder"),
    ("flux", {}, "pictures"),
    ("gptoss", {}, "Ollama"),
    ("clip", {"general.type": "mmproj"}, "projector"),
    ("llama", {"general.type": "adapter", "adapter.type": "lora"}, "LoRA"),
    ("controlvector", {}, "control vector"),
    ("eagle3", {}, "draft"),
    ("gemma4-assistant", {}, "draft"),
    ("", {"general.type": "imatrix", "imatrix.chunk_count": 8}, "importance matrix"),
    ("llama", {"split.no": 1, "split.count": 3}, "part 2"),
]


@pytest.mark.parametrize(("architecture", "values", "word"), OTHERS)
def test_what_is_no_chat_model(tmp_path: Path, architecture: str, values: dict[str, Any], word: str) -> None:
    problem = not_for_chat(read_header(write(tmp_path / "it.gguf", architecture, values)))
    assert problem is not None
    assert problem.code == "model_not_chat"
    assert word in problem.message
    assert problem.message.startswith("it.gguf is ")
    assert problem.hint
    wanted = (
        {"embedding": "embed", "ranks": "rank"}.get(word, "other") if architecture != "t5encoder" else "other"
    )
    assert purpose_of(read_header(tmp_path / "it.gguf")) == wanted


def test_chat_models(tmp_path: Path, desk_guide: Path, smollm2: Path, gemma: Path) -> None:
    for path in (desk_guide, smollm2, gemma):
        assert not_for_chat(read_header(path)) is None
        assert purpose_of(read_header(path)) == "chat"
        with pytest.raises(SlmDeskError, match="gives no vectors"):
            TextModel.of(read_header(path))
    plain = write(tmp_path / "m.gguf", "qwen3", {"qwen3.pooling_type": 0, "qwen3.attention.causal": True})
    assert not_for_chat(read_header(plain)) is None
    assert not_for_chat(read_header(write(tmp_path / "n.gguf", "llama", {"split.no": 0}))) is None


@pytest.mark.parametrize(("architecture", "values", "word"), [OTHERS[5], OTHERS[6], OTHERS[12], OTHERS[17]])
async def test_an_engine_refuses_it_before_loading(
    tmp_path: Path, architecture: str, values: dict[str, Any], word: str
) -> None:
    path = write(tmp_path / "it.gguf", architecture, values)
    with pytest.raises(SlmDeskError) as caught:
        await start_engine(spec_of(path, "test"))
    assert caught.value.code == "model_not_chat"
    assert word in caught.value.message


def test_a_file_with_its_vision_part_inside_is_ollamas_and_not_damaged(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "it.gguf", "gemma3")
    for name in ("token_embd.weight", "v.blk.0.attn_q.weight", "mm.mm_input_projection.weight"):
        writer.add_tensor(name, np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    problem = not_for_chat(read_header(tmp_path / "it.gguf"))
    assert problem is not None
    assert "Ollama" in problem.message
    assert "catalog" in problem.hint


# architecture, entries; the pooling, whether a text comes in pieces, whether its vectors may be shortened
TEXTS: list[tuple[str, dict[str, Any], tuple[str, bool, bool]]] = [
    ("bert", {"bert.pooling_type": 2, "general.name": "Bge Small En v1.5"}, ("cls", False, False)),
    ("bert", {"general.name": "Mxbai Embed Large v1"}, ("mean", False, True)),
    (
        "nomic-bert",
        {"nomic-bert.pooling_type": 1, "general.name": "nomic-embed-text-v1.5"},
        ("mean", False, True),
    ),
    (
        "nomic-bert",
        {"nomic-bert.pooling_type": 1, "general.name": "nomic-embed-text-v1"},
        ("mean", False, False),
    ),
    ("qwen3", {"qwen3.pooling_type": 3, "general.name": "Qwen3 Embedding 0.6B"}, ("last", True, True)),
    ("qwen3", {"qwen3.pooling_type": 1}, ("mean", False, False)),
    ("qwen3", {"qwen3.pooling_type": 4, "general.name": "Qwen3 Reranker 0.6B"}, ("rank", True, False)),
    ("bert", {"bert.pooling_type": 4}, ("rank", False, False)),
    ("llama", {"llama.pooling_type": 3, "llama.attention.causal": False}, ("last", False, False)),
    ("gemma-embedding", {"gemma-embedding.pooling_type": 1}, ("mean", False, True)),
]


@pytest.mark.parametrize(("architecture", "values", "wanted"), TEXTS)
def test_how_a_model_comes_to_one_vector(
    tmp_path: Path, architecture: str, values: dict[str, Any], wanted: tuple[str, bool, bool]
) -> None:
    kind = TextModel.of(read_header(write(tmp_path / "it.gguf", architecture, values)))
    assert (kind.pooling, kind.cached, kind.shortens) == wanted
