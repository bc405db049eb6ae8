"""Safetensors headers: what is right is read, what cannot be is refused before memory is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.safetensors import parse_header, parse_index, read_header

GOOD: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "b": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [24, 88]},
    "a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
    "empty": {"dtype": "I8", "shape": [0, 5], "data_offsets": [88, 88]},
}


def _file(header: object, body: int = 88) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + bytes(body)


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(_file(GOOD))
    header = read_header(path)
    assert [tensor.name for tensor in header.tensors] == ["a", "b", "empty"]
    assert (header.parameters, header.data_bytes) == (6 + 32, 88)
    assert header.types == {"BF16": 64, "F32": 24, "I8": 0}
    assert header.data_offset + header.data_bytes == path.stat().st_size


def _changed(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


@pytest.mark.parametrize(
    "header",
    [
        _changed(a={"dtype": "F32", "shape": [6], "data_offsets": [8, 32]}),  # overlaps
        _changed(a={"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}),  # leaves a gap
        _changed(a={"dtype": "F32", "shape": [7], "data_offsets": [0, 24]}),  # not as long as its shape
        _changed(a={"dtype": 99, "shape": [6], "data_offsets": [0, 24]}),
        _changed(a={"dtype": "F32", "shape": [-6], "data_offsets": [0, 24]}),
        _changed(a={"dtype": "F32", "shape": [6], "data_offsets": [24, 0]}),
        _changed(a={"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 24]}),
        _changed(a={"dtype": "F32", "shape": [6.0], "data_offsets": [0, 24]}),
        _changed(a={"dtype": "F32", "shape": [True] * 6, "data_offsets": [0, 24]}),
        _changed(a={"dtype": "F32", "shape": [6]}),
        _changed(a=[]),
        _changed(__metadata__={"x": 1}),
        [],
        b"{" + b'"a":' * 3,
        b"[" * 100_000,
        b'{"a": {"dtype": "I8", "shape": [0], "data_offsets": [0, 0]}, "a": {}}',
        b"\xff\xfe\xfd",
    ],
)
def test_what_cannot_be_is_refused(header: object) -> None:
    data = _file(header)
    with pytest.raises(SlmDeskError) as caught:
        parse_header("model.safetensors", data, len(data))
    assert caught.value.code == "safetensors_damaged"


def test_a_type_of_the_future_is_told_apart_from_damage() -> None:
    data = _file(_changed(a={"dtype": "F3_E1M1", "shape": [64], "data_offsets": [0, 24]}))
    with pytest.raises(SlmDeskError, match="F3_E1M1") as caught:
        parse_header("model.safetensors", data, len(data))
    assert caught.value.code == "safetensors_type_unknown"


def test_lengths_are_checked_before_they_are_believed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(SlmDeskError) as caught:
        read_header(path)
    assert caught.value.code == "safetensors_damaged"
    for data in (b"", b"\x08\0", _file(GOOD, body=80), _file(GOOD)[:60]):
        path.write_bytes(data)
        with pytest.raises(SlmDeskError) as caught:
            read_header(path)
        assert caught.value.code == "safetensors_truncated"
    path.write_bytes(_file(GOOD, body=96))
    with pytest.raises(SlmDeskError) as caught:
        read_header(path)
    assert caught.value.code == "safetensors_damaged"
    with pytest.raises(SlmDeskError) as caught:
        read_header(tmp_path / "none.safetensors")
    assert caught.value.code == "file_missing"


def test_an_index_names_files_in_its_folder_only() -> None:
    index = {
        "metadata": {"total_size": 1000.0},
        "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"},
    }
    found = parse_index("index", json.dumps(index).encode())
    assert found.files == ("m-1.safetensors", "m-2.safetensors")
    assert found.total_bytes == 1000
    for name in ("../x.safetensors", "/x.safetensors", "a\\x", "C:x", ""):
        with pytest.raises(SlmDeskError):
            parse_index("index", json.dumps({"weight_map": {"a": name}}).encode())
    for text in (b"{}", b"[]", b'{"weight_map": {"a": 1}}', b"{"):
        with pytest.raises(SlmDeskError):
            parse_index("index", text)
    assert (
        parse_index("index", b'{"weight_map": {"a": "f"}, "metadata": {"total_size": -5}}').total_bytes == 0
    )
