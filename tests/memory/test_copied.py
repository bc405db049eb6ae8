"""Which weights are copied into another order, by processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmdesk.formats.gguf import read_header
from slmdesk.memory.copied import copy_bytes, rules, rules_for
from slmdesk.memory.weights import kept_twice, rearranged, weights_bytes

AVX2 = ("avx", "avx2", "fma")
AVX512 = (*AVX2, "avx512f", "avx512_vnni")
AMX = (*AVX512, "amx_tile", "amx_int8")
MIB = 2**20


def test_processors_differ() -> None:
    assert set(rules_for("x86_64", AVX2)) == {"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}
    assert set(rules_for("AMD64", AVX512)) - set(rules_for("AMD64", AVX2)) == {"Q2_K"}
    assert "Q8_0" in rules_for("arm64")
    assert "Q4_1" in rules_for("x86_64", AMX, amx_built=True)
    # The processor's features do not matter where the library cannot use them.
    assert rules_for("x86_64", AMX) == rules_for("x86_64", AVX512)
    assert rules_for("riscv64", AMX) == {}


@pytest.mark.parametrize(("model", "expected_mib"), [("smollm2", 95.34), ("gemma", 213.91)])
def test_with_amx_the_copies_are_as_large_as_llama_cpp_says(
    model: str, expected_mib: float, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are those of its log ("AMX model buffer size") when the two were loaded by a build with AMX."""
    header = read_header(request.getfixturevalue(model))
    found = rules_for("x86_64", AMX, amx_built=True)
    monkeypatch.setattr("slmdesk.memory.weights.rules", lambda: found)
    moved = [tensor for tensor in header.tensors if rearranged(tensor, found)]
    copies = sum(copy_bytes(tensor, found) for tensor in moved)
    assert (copies + kept_twice(header)) / MIB == pytest.approx(expected_mib, abs=0.005)
    assert weights_bytes(header, copied=False) == header.file_bytes
    originals = sum(tensor.nbytes for tensor in moved)
    assert weights_bytes(header) == header.file_bytes - originals + copies + kept_twice(header)


def test_without_amx_the_starter_takes_its_own_size(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rules_for("x86_64", AVX512)
    monkeypatch.setattr("slmdesk.memory.weights.rules", lambda: found)
    assert weights_bytes(read_header(smollm2)) == smollm2.stat().st_size


def test_this_machine_s_rules_are_found_out_once() -> None:
    assert rules() is rules()
