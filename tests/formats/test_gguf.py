"""Reading GGUF headers: the same as gguf-py writes and reads, and as the built-in model is."""

import struct
from pathlib import Path
from typing import Any

import gguf as peer
import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import gguf
from slmdesk.formats.ggml_types import TENSOR_TYPES
from slmdesk.formats.vocabularies import Vocabularies

METADATA: dict[str, tuple[str, Any]] = {
    "test.u8": ("uint8", 200),
    "test.i8": ("int8", -100),
    "test.u16": ("uint16", 60_000),
    "test.i16": ("int16", -30_000),
    "test.u32": ("uint32", 4_000_000_000),
    "test.i32": ("int32", -2_000_000_000),
    "test.u64": ("uint64", 2**63 + 5),
    "test.i64": ("int64", -(2**62)),
    "test.f32": ("float32", 0.5),
    "test.f64": ("float64", 1e-300),
    "test.yes": ("bool", True),
    "test.no": ("bool", False),
    "test.text": ("string", "Grüße, 世界\n"),
}
ARRAYS: dict[str, list[Any]] = {
    "array.texts": ["a", "", "größer", "x" * 300],
    "array.numbers": [1, -2, 3],
    "array.floats": [0.5, -1.5],
    "array.flags": [True, False, True],
}


def write(
    path: Path,
    *,
    tensors: dict[str, np.ndarray[Any, Any]] | None = None,
    file_type: int | None = 1,
    **more: Any,
) -> Path:
    """A small file by gguf-py's own writer."""
    writer = peer.GGUFWriter(path, "llama")
    writer.add_name("Test model")
    writer.add_context_length(4096)
    if file_type is not None:
        writer.add_file_type(file_type)
    for key, (kind, value) in METADATA.items():
        getattr(writer, f"add_{kind}")(key, value)
    for key, values in ARRAYS.items():
        writer.add_array(key, values)
    for key, value in more.items():
        if isinstance(value, list):
            writer.add_array(key.replace("__", "."), value)
        else:
            writer.add_string(key.replace("__", "."), value)
    weights: dict[str, np.ndarray[Any, Any]] = {
        "token_embd.weight": np.ones((5, 64), np.float16),
        "norm": np.ones(3, np.float32),
    }
    for name, tensor in (weights if tensors is None else tensors).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "test.gguf")


def test_what_gguf_py_wrote(file: Path) -> None:
    header = gguf.read_header(file)
    gguf.check(header)
    assert (header.version, header.architecture, header.name, header.kind) == (
        3,
        "llama",
        "Test model",
        "model",
    )
    assert (header.quant, header.context_length, header.parameters) == ("F16", 4096, 5 * 64 + 3)
    assert header.file_bytes == file.stat().st_size
    for key, (_, value) in METADATA.items():
        assert header.metadata[key] == value
        assert type(header.metadata[key]) is type(value)
    for key, values in ARRAYS.items():
        assert header.metadata[key].count == len(values)
        assert gguf.read_array(file, header, key) == values


def test_arrays_when_asked_for(file: Path) -> None:
    header = gguf.read_header(file, want_arrays=True)
    assert {key: header.metadata[key] for key in ARRAYS} == ARRAYS
    assert gguf.read_array(file, header, "array.texts") == ARRAYS["array.texts"]
    for key in ("test.u8", "no.such.key"):
        with pytest.raises(KeyError):
            gguf.read_array(file, header, key)


def test_tensors_are_where_gguf_py_sees_them(file: Path, desk_guide: Path) -> None:
    for path in (file, desk_guide):
        theirs = peer.GGUFReader(path)
        ours = gguf.read_header(path)
        assert ours.data_offset == theirs.data_offset
        assert len(ours.tensors) == len(theirs.tensors) > 0
        for one, other in zip(ours.tensors, theirs.tensors, strict=True):
            assert one.name == other.name
            assert one.shape == tuple(other.shape)
            assert one.type.name == other.tensor_type.name
            assert one.nbytes == other.n_bytes
            assert one.elements == other.n_elements
            assert ours.data_offset + one.offset == other.data_offset


def test_metadata_as_gguf_py_reads_it(desk_guide: Path) -> None:
    theirs = peer.GGUFReader(desk_guide)
    ours = gguf.read_header(desk_guide, want_arrays=True)
    keys = [key for key in theirs.fields if not key.startswith("GGUF.")]
    assert sorted(ours.metadata) == sorted(keys)
    for key in keys:
        assert ours.metadata[key] == theirs.fields[key].contents()


def test_the_built_in_model(desk_guide: Path) -> None:
    header = gguf.read_header(desk_guide)
    gguf.check(header)
    assert header.name == "Desk Guide"
    assert header.architecture == "llama"
    assert header.quant == "F16"
    assert 4_000_000 < header.parameters < 5_500_000
    assert header.context_length >= 2048
    assert header.number("feed_forward_length") % 256 == 0
    assert header.vocabulary == header.number("vocab_size") > 1000
    assert "messages" in header.chat_template
    assert header.licence == "apache-2.0"
    assert gguf.duplicate_tokens(desk_guide, header) == ()


def test_sizes_of_types_are_those_of_gguf_py() -> None:
    theirs = {kind.value: (kind.name, *peer.GGML_QUANT_SIZES[kind]) for kind in peer.GGMLQuantizationType}
    # gguf-py still has the size Q8_1 had with a 32-bit sum; ggml-common.h says 2 * 2 + 32. No file uses it.
    theirs.pop(9)
    for number, expected in theirs.items():
        assert tuple(TENSOR_TYPES[number]) == expected


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "TQ2_0", "BF16"])
def test_bytes_of_quantized_tensors(tmp_path: Path, kind: str) -> None:
    number = peer.GGMLQuantizationType[kind]
    block, size = peer.GGML_QUANT_SIZES[number]
    path = tmp_path / "x.gguf"
    writer = peer.GGUFWriter(path, "llama")
    raw = np.zeros((4, 512 // block * size), np.uint8)
    writer.add_tensor("w", raw, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = gguf.read_header(path)
    gguf.check(header)
    (tensor,) = header.tensors
    assert (tensor.shape, tensor.elements, tensor.nbytes) == ((512, 4), 2048, raw.size)
    assert header.quant == kind  # no file type: the type of most bytes


@pytest.mark.parametrize(
    ("file_type", "quant"),
    [(0, "F32"), (15, "Q4_K_M"), (15 + 1024, "Q4_K_M"), (38, "MXFP4"), (999, "F16"), (None, "F16")],
)
def test_quant_by_file_type_or_by_most_bytes(tmp_path: Path, file_type: int | None, quant: str) -> None:
    assert gguf.read_header(write(tmp_path / "x.gguf", file_type=file_type)).quant == quant


def test_wrongly_typed_facts_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    writer = peer.GGUFWriter(path, "llama")
    writer.add_string("llama.context_length", "many")
    writer.add_string("general.file_type", "Q9")
    writer.add_uint32("general.name", 3)
    writer.add_array("tokenizer.chat_template", ["a"])
    writer.add_tensor("w", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = gguf.read_header(path)
    gguf.check(header)
    facts = (header.context_length, header.name, header.chat_template, header.quant, header.vocabulary)
    assert facts == (0, "", "", "F32", 0)


def test_duplicate_tokens(tmp_path: Path) -> None:
    tokens = ["a", "b", "", "b", "", "größe", "c", "größe", "b"]
    path = write(tmp_path / "x.gguf", tokenizer__ggml__tokens=tokens)
    header = gguf.read_header(path)
    assert header.vocabulary == len(tokens)
    assert gguf.duplicate_tokens(path, header) == ("b", "größe")
    assert gguf.duplicate_tokens(path, header, most=1) == ("b",)
    assert gguf.duplicate_tokens(path, gguf.read_header(path, want_arrays=True)) == ("b", "größe")
    only_empty = write(tmp_path / "y.gguf", tokenizer__ggml__tokens=["a", "", ""])
    assert gguf.duplicate_tokens(only_empty, gguf.read_header(only_empty)) == ()


def test_large_vocabulary(tmp_path: Path) -> None:
    """Larger than what is read first, with texts at every length's edge."""
    tokens = [f"{n}".ljust(n % 40, "x") for n in range(60_000)] + ["y" * 255, "y" * 256, "y" * 70_000]
    path = write(tmp_path / "x.gguf", tokenizer__ggml__tokens=tokens)
    assert path.stat().st_size > 1.5 * 2**20
    header = gguf.read_header(path)
    gguf.check(header)
    assert header.metadata["tokenizer.ggml.tokens"].count == len(tokens)
    assert gguf.read_array(path, header, "tokenizer.ggml.tokens") == tokens
    assert [tensor.name for tensor in header.tensors] == ["token_embd.weight", "norm"]


def test_nested_arrays(tmp_path: Path) -> None:
    texts = struct.pack("<IQ", 8, 2) + struct.pack("<Q", 1) + b"a" + struct.pack("<Q", 2) + b"bc"
    numbers = struct.pack("<IQ", 4, 3) + struct.pack("<III", 1, 2, 3)
    key = b"deep"
    body = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key
    path = tmp_path / "x.gguf"
    path.write_bytes(body + struct.pack("<IIQ", 9, 9, 2) + texts + numbers)
    header = gguf.read_header(path)
    assert header.metadata["deep"].count == 2
    assert gguf.read_array(path, header, "deep") == [["a", "bc"], [1, 2, 3]]


def test_file_without_weights_is_no_model(tmp_path: Path) -> None:
    header = gguf.read_header(write(tmp_path / "x.gguf", tensors={}))
    with pytest.raises(SlmDeskError) as caught:
        gguf.check(header)
    assert caught.value.code == "gguf_no_weights"


def test_a_shared_vocabulary_is_compared_and_nothing_else_changes(tmp_path: Path) -> None:
    tokens = [f"token {number}" for number in range(300)]
    lists = {
        "same.gguf": tokens,
        "again.gguf": list(tokens),
        "other.gguf": [*tokens[:-1], "token 2x9"],
        "longer.gguf": [*tokens, "one more"],
        "shorter.gguf": tokens[:-1],
    }
    shared = Vocabularies()
    for name, words in lists.items():
        path = write(tmp_path / name, tokenizer__ggml__tokens=words)
        alone, together = gguf.read_header(path), gguf.read_header(path, vocabularies=shared)
        assert together == alone
        assert gguf.read_array(path, together, "tokenizer.ggml.tokens") == words
    cut = tmp_path / "cut.gguf"
    whole = (tmp_path / "same.gguf").read_bytes()
    cut.write_bytes(whole[: whole.index(b"token 200")])
    with pytest.raises(SlmDeskError) as caught:
        gguf.read_header(cut, vocabularies=shared)
    assert caught.value.code == "gguf_truncated"
