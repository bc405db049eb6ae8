"""The quants that can be made, and names as people write them."""

from __future__ import annotations

import re

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.targets import TARGETS, find_target, find_targets, tensor_type_number


def test_every_wanted_quant_is_there() -> None:
    wanted = (
        "F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_XS IQ4_NL Q3_K_L Q3_K_M Q3_K_S IQ3_XS "
        "IQ3_XXS Q2_K IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 MXFP4"
    )
    assert set(wanted.split()) <= set(TARGETS)
    assert all(target.good_for.endswith(".") for target in TARGETS.values())
    assert all("BitNet" in target.warning for target in TARGETS.values() if target.ternary)


def test_names_as_people_write_them() -> None:
    assert find_target(" q4_k_m ").name == "Q4_K_M"
    assert find_target("Q4_K").name == "Q4_K_M"
    assert [t.name for t in find_targets(["q8_0", "Q8_0", "", "Q2_K"])] == ["Q8_0", "Q2_K"]
    assert tensor_type_number("q6_k") == 14
    with pytest.raises(SlmDeskError) as caught:
        find_target("Q4_KM")
    assert re.search(r"Q4_K_M", caught.value.hint)
    for call, code in (
        (lambda: find_targets([" "]), "target_missing"),
        (lambda: tensor_type_number("I32"), "tensor_type_unknown"),
    ):
        with pytest.raises(SlmDeskError) as caught:
            call()
        assert caught.value.code == code
