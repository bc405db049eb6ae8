"""ONNX files: what they say of themselves is read without their graph, and what cannot be is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.onnx import read_header
from tests.hub.files import onnx_file

GOOD = onnx_file(2000)
# IR version 9, an empty producer, and the operators by their long name, after a graph of two bytes.
OTHER_ORDER = b"\x3a\x02\x12\x00" + b"\x42\x0b\x0a\x07ai.onnx\x10\x11" + b"\x12\x00" + b"\x08\x09"


def refused(path: Path, content: bytes) -> SlmDeskError:
    path.write_bytes(content)
    with pytest.raises(SlmDeskError) as caught:
        read_header(path)
    assert path.name in caught.value.message
    return caught.value


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(GOOD)
    header = read_header(path)
    assert (header.ir_version, header.producer, header.producer_version) == (10, "slmdesk tests", "1.0")
    assert header.opset == {"": 21, "com.example": 1}
    assert 2000 < header.graph_bytes < len(GOOD)
    path.write_bytes(OTHER_ORDER)
    header = read_header(path)
    assert (header.ir_version, header.producer, header.opset, header.graph_bytes) == (9, "", {"": 17}, 2)


def test_the_graph_is_passed_over(tmp_path: Path) -> None:
    """A file of 8 GB, all of it a hole: reading it would take a while."""
    path = tmp_path / "large.onnx"
    graph = 8_000_000_000
    head = b"\x08\x0a\x3a" + _varint(graph)
    tail = b"\x42\x02\x10\x15"
    with path.open("wb") as file:
        file.write(head)
        try:
            os.truncate(path, len(head) + graph)
        except OSError:
            pytest.skip("no files with holes here")
        file.seek(0, os.SEEK_END)
        file.write(tail)
    header = read_header(path)
    assert (header.graph_bytes, header.opset) == (graph, {"": 21})
    path.unlink()


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = onnx_file(100)
    # The last field names more operators; what stands before it is a whole model, too.
    last = whole.rindex(b"\x42")
    for length in set(range(2, len(whole))) - {last}:
        error = refused(path, whole[:length])
        assert error.code in {"onnx_truncated", "onnx_damaged"}, length
    assert refused(path, b"").code == "not_onnx"


@pytest.mark.parametrize(
    "content",
    [
        b"<html>Please sign in</html>",
        b"GGUF" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n",
        b"\x08\xff\xff\xff\xff\x0f",  # an IR version of four thousand millions
        b"\x08\x00" + GOOD[2:],
        b"\x12\x00",  # nothing but a producer
    ],
)
def test_what_is_none_is_told_apart(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path / "model.onnx", content).code == "not_onnx"


@pytest.mark.parametrize(
    "more",
    [
        b"\x00",  # no field has the number 0
        b"\x0b",  # a group
        b"\x38\x01",  # the graph as a number
        b"\x42\x02\x08\x01",  # operators whose domain is a number
        b"\x42\x01\x10\x15",  # operators that go on behind their end
        b"\x10" + b"\xff" * 11,
    ],
)
def test_damage_behind_a_good_beginning(tmp_path: Path, more: bytes) -> None:
    assert refused(tmp_path / "model.onnx", GOOD + more).code == "onnx_damaged"


def test_lengths_are_checked_before_they_are_believed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert refused(path, GOOD + b"\x12" + _varint(2**62)).code == "onnx_truncated"
    long_name = b"\x12" + _varint(100_000) + b"x" * 100_000
    assert refused(path, GOOD + long_name).code == "onnx_damaged"
    assert refused(path, GOOD + b"\xa2\x01\x00" * 100_001).code == "onnx_damaged"
    assert refused(path, b"\x08\x0a\x42\x02\x10\x15").code == "onnx_damaged"  # no graph
    path.unlink()
    with pytest.raises(SlmDeskError) as caught:
        read_header(path)
    assert caught.value.code == "file_missing"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
