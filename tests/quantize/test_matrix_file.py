"""Importance matrices in files: our GGUF read by another reader, the older format, and damage."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.matrix_file import Matrix, MatrixEntry, read_matrix, write_matrix


def _matrix() -> Matrix:
    random = np.random.default_rng(3)
    dense = MatrixEntry(random.random((1, 48), np.float32), np.array([512], np.float32))
    experts = MatrixEntry(random.random((4, 32), np.float32), np.array([100, 0, 7, 3], np.float32))
    return Matrix(
        {"blk.1.ffn_down_exps.weight": experts, "blk.0.attn_q.weight": dense}, ("some text", "more"), 5, 512
    )


def test_another_reader_reads_what_is_written(tmp_path: Path) -> None:
    matrix = _matrix()
    write_matrix(tmp_path / "m.gguf", matrix)
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert reader.get_field("general.type").contents() == "imatrix"
    assert reader.get_field("imatrix.datasets").contents() == ["some text", "more"]
    assert reader.get_field("imatrix.chunk_count").contents() == 5
    assert reader.get_field("imatrix.chunk_size").contents() == 512
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    for name, entry in matrix.entries.items():
        np.testing.assert_array_equal(tensors[f"{name}.in_sum2"].data.reshape(entry.sums.shape), entry.sums)
        np.testing.assert_array_equal(tensors[f"{name}.counts"].data.reshape(-1), entry.counts)


def test_round_trip_and_weights(tmp_path: Path) -> None:
    matrix = _matrix()
    write_matrix(tmp_path / "m.gguf", matrix)
    again = read_matrix(tmp_path / "m.gguf")
    assert (again.datasets, again.chunks, again.chunk_size, again.legacy) == (
        ("some text", "more"),
        5,
        512,
        False,
    )
    weights = again.weights()
    experts = matrix.entries["blk.1.ffn_down_exps.weight"]
    got = weights["blk.1.ffn_down_exps.weight"].reshape(4, 32)
    np.testing.assert_array_equal(got[0], experts.sums[0] / np.float32(100))
    np.testing.assert_array_equal(got[1], np.ones(32))  # an expert that never ran counts all alike
    assert weights["blk.0.attn_q.weight"].dtype == np.float32


def test_the_older_format(tmp_path: Path) -> None:
    values = np.arange(1, 9, dtype="<f4")
    name = b"blk.0.ffn_up.weight"
    data = (
        struct.pack("<i", 1)
        + struct.pack("<i", len(name))
        + name
        + struct.pack("<ii", 4, 8)
        + values.tobytes()
    )
    (tmp_path / "m.dat").write_bytes(data + struct.pack("<ii", 77, 4) + b"wiki")
    matrix = read_matrix(tmp_path / "m.dat")
    assert (matrix.legacy, matrix.chunks, matrix.datasets) == (True, 77, ("wiki",))
    np.testing.assert_array_equal(matrix.weights()["blk.0.ffn_up.weight"], values / 4)
    (tmp_path / "short.dat").write_bytes(data)  # before the chunks and the text were added to it
    assert read_matrix(tmp_path / "short.dat").datasets == ()
    for cut in range(1, len(data), 7):
        (tmp_path / "cut.dat").write_bytes(data[:cut])
        with pytest.raises(SlmDeskError) as caught:
            read_matrix(tmp_path / "cut.dat")
        assert caught.value.code == "imatrix_unreadable"


def test_what_is_no_matrix(tmp_path: Path, desk_guide: Path) -> None:
    write_matrix(tmp_path / "m.gguf", _matrix())
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:-100])
    endless = Matrix(
        {"blk.0.x": MatrixEntry(np.array([[np.inf]], np.float32), np.ones(1, np.float32))}, (), 1, 512
    )
    write_matrix(tmp_path / "inf.gguf", endless)
    (tmp_path / "text.gguf").write_text("GGUF? no")
    for path in (desk_guide, tmp_path / "cut.gguf", tmp_path / "inf.gguf", tmp_path / "text.gguf"):
        with pytest.raises(SlmDeskError) as caught:
            read_matrix(path)
        assert caught.value.code == "imatrix_unreadable", path
    with pytest.raises(SlmDeskError) as caught:
        read_matrix(tmp_path / "absent.gguf")
    assert caught.value.code == "imatrix_missing"
