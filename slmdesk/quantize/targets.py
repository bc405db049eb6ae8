"""The quants a model can be made into, and the types of single tensors, as people name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.ggml_types import TENSOR_TYPES
from slmdesk.formats.quants import QUANTS, QuantFormat, quant_named

if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order in which they are offered: the largest first.
TARGETS: dict[str, QuantFormat] = {name: quant for name, quant in QUANTS.items() if quant.good_for}

# Types a person may choose for single tensors.
TENSOR_TYPE_NUMBERS: dict[str, int] = {
    kind.name: number
    for number, kind in TENSOR_TYPES.items()
    if not kind.name.startswith(("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"))
}


def find_target(name: str) -> QuantFormat:
    """Raises `SlmDeskError("target_unknown")` with close matches in the hint."""
    found = quant_named(name)
    if found is not None and found.name in TARGETS:
        return found
    import difflib

    near = difflib.get_close_matches(name.strip().upper(), TARGETS, n=3, cutoff=0.5)
    known = f"Did you mean {', '.join(near)}?" if near else f"Known are: {', '.join(TARGETS)}."
    raise SlmDeskError("target_unknown", f"There is no quant {name!r}.", known)


def find_targets(names: Iterable[str]) -> list[QuantFormat]:
    """The targets of these names in the order given, each once. Raises `target_unknown`, or `target_missing`."""
    found = list(dict.fromkeys(find_target(name) for name in names if name.strip()))
    if not found:
        raise SlmDeskError("target_missing", "No quant was named.", "Name at least one, such as Q4_K_M.")
    return found


def tensor_type_number(name: str) -> int:
    """ggml's number of a tensor type. Raises `SlmDeskError("tensor_type_unknown")`."""
    number = TENSOR_TYPE_NUMBERS.get(name.strip().upper())
    if number is None:
        raise SlmDeskError(
            "tensor_type_unknown",
            f"There is no tensor type {name!r}.",
            f"Known are: {', '.join(TENSOR_TYPE_NUMBERS)}.",
        )
    return number
