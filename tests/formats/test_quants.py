"""The one table of quants against llama.cpp's own enumeration, and everything that reads the table."""

from __future__ import annotations

import gguf as peer
import pytest

from slmdesk.catalog.choices import LADDERS
from slmdesk.formats.ggml_types import TENSOR_TYPES
from slmdesk.formats.quants import (
    BY_FILE_TYPE,
    FULL_PRECISION,
    PREFERRED,
    QUANTS,
    SHORT_ROWS,
    USUAL,
    WITHOUT_MATRIX,
    quant_named,
)
from slmdesk.quantize.recommending import ADVISED
from slmdesk.quantize.targets import TARGETS

TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}
# Of early files; llama.cpp keeps the numbers and reads none of them.
GONE = {"Q4_1_SOME_F16", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8"}


def _plain(name: str) -> str:
    for start in ("ALL_", "MOSTLY_"):
        name = name.removeprefix(start)
    return name.removesuffix("_MOE")


def test_numbers_are_those_of_the_installed_llama_cpp() -> None:
    import llama_cpp.llama_cpp as llama

    theirs = {
        _plain(name.removeprefix("LLAMA_FTYPE_")): value
        for name, value in vars(llama).items()
        if name.startswith("LLAMA_FTYPE_") and name != "LLAMA_FTYPE_GUESSED"
    }
    known = {name: number for name, number in theirs.items() if name not in GONE}
    assert len(known) > 30
    assert known == {name: QUANTS[name].ftype for name in known}
    assert {quant.ftype: name for name, quant in QUANTS.items()} == BY_FILE_TYPE


def test_what_the_binding_does_not_know_yet_gguf_py_does() -> None:
    theirs = {_plain(kind.name): kind.value for kind in peer.LlamaFileType if kind.name != "GUESSED"}
    known = {name: number for name, number in theirs.items() if name not in GONE}
    assert known == {name: QUANTS[name].ftype for name in known}
    assert set(QUANTS) - set(known) <= {"Q2_0"}  # the newest, which gguf-py has no name for


def test_layers_take_what_their_main_type_takes_and_a_little_more() -> None:
    for quant in QUANTS.values():
        kind = TYPES[quant.tensor]
        least = kind.size * 8 / kind.block
        assert least - 0.2 <= quant.layer_bits <= least + 0.8, quant  # IQ3_XS mixes in coarser ones
        assert quant.layer_bits <= quant.bits <= quant.layer_bits + 0.55, quant


def test_types_that_stand_in_for_others_can() -> None:
    assert {name for name in TYPES if TYPES[name].block == 256 and name != "Q8_K"} == set(SHORT_ROWS)
    assert all(TYPES[name].block == 32 for name in SHORT_ROWS.values())
    assert not set(WITHOUT_MATRIX.values()) & set(WITHOUT_MATRIX)
    needing = {quant.tensor for quant in QUANTS.values() if quant.needs_matrix}
    assert set(WITHOUT_MATRIX) <= needing | {"IQ2_S"}


def test_every_list_of_quants_names_known_ones() -> None:
    from slmdesk.catalog.pages import LISTED
    from slmdesk.gui.quantize.rows import USUAL as SHOWN

    assert USUAL in TARGETS
    for names in (PREFERRED, FULL_PRECISION, *LADDERS.values(), LISTED):
        assert set(names) <= set(QUANTS)
        assert len(set(names)) == len(names)
    for names in (ADVISED, SHOWN):
        assert set(names) <= set(TARGETS)


def test_a_file_is_as_large_as_its_bits() -> None:
    assert QUANTS["F16"].bytes_of(1_000) == 2_000
    assert QUANTS["Q8_0"].bytes_of(32) == 34
    assert QUANTS[USUAL].bytes_of(8_030_261_312) == pytest.approx(4_912_000_000, rel=0.001)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Q4_K_M", "Q4_K_M"),
        (" q4_k_m ", "Q4_K_M"),
        ("Q4-K-M", "Q4_K_M"),
        ("Q4_K", "Q4_K_M"),
        ("UD-Q4_K_XL", "Q4_K_M"),
        ("UD-Q2_K_XL", "Q2_K"),
        ("UD-IQ2_XXS", "IQ2_XXS"),
        ("Q6_K_XL", "Q6_K"),
        ("MXFP4_MOE", "MXFP4"),
        ("FP16", "F16"),
        ("f32", "F32"),
        ("Q8_K_XL", ""),
        ("Q4_KM", ""),
        ("", ""),
    ],
)
def test_names_as_people_and_publishers_write_them(written: str, meant: str) -> None:
    found = quant_named(written)
    assert (found.name if found else "") == meant
