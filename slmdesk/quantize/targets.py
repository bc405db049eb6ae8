"""The quants a model can be made into: llama.cpp's numbers, and what each is good for.

Numbers are those of llama.h (`enum llama_ftype`) and ggml.h (`enum ggml_type`) of the llama.cpp that the
installed llama-cpp-python vendors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.ggml_types import TENSOR_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

TERNARY_WARNING = (
    "Keeps only -1, 0 and 1 of every weight: right for a model trained that way (BitNet, TriLM). "
    "Any other model talks nonsense afterwards."
)
EXPERTS_NOTE = "Only the experts of a mixture-of-experts model get 4 bits; everything else becomes Q8_0."


_WANTS_MATRIX_BITS = 4.5  # those of Q4_0


@dataclass(frozen=True, slots=True)
class Target:
    """One quant. `bits` is the nominal number of bits a weight of its main type."""

    name: str
    ftype: int
    bits: float
    good_for: str
    needs_matrix: bool = False  # llama.cpp refuses to make it without an importance matrix
    gains_by_matrix: bool = True
    warning: str = ""

    @property
    def wants_matrix(self) -> bool:
        """Whether an importance matrix is worth its time: from Q4_0 down, KL divergence falls by a quarter or more."""
        return self.needs_matrix or (self.gains_by_matrix and self.bits <= _WANTS_MATRIX_BITS)

    @property
    def ternary(self) -> bool:
        return self.name.startswith("TQ")


# In the order in which they are offered: the largest first.
TARGETS: tuple[Target, ...] = (
    Target("F16", 1, 16.0, "No loss to speak of; a base for other quants.", gains_by_matrix=False),
    Target("BF16", 32, 16.0, "As trained by most makers; slower than F16 on most processors.", gains_by_matrix=False),
    Target("Q8_0", 7, 8.5, "Hardly told from the original, at half its size.", gains_by_matrix=False),
    Target("Q6_K", 18, 6.56, "Nearly no loss; a good choice where memory is no worry.", gains_by_matrix=False),
    Target("Q5_K_M", 17, 5.7, "Very little loss."),
    Target("Q5_K_S", 16, 5.5, "Very little loss, a little smaller."),
    Target("Q5_1", 9, 6.0, "An older format, for programs that know no K-quants."),
    Target("Q5_0", 8, 5.5, "An older format, for programs that know no K-quants."),
    Target("Q4_K_M", 15, 4.85, "The usual choice: small, quick and close to the original."),
    Target("Q4_K_S", 14, 4.6, "Like Q4_K_M, a little smaller and a little worse."),
    Target("Q4_1", 3, 5.0, "An older format; Q4_K_M is better at the same size."),
    Target("Q4_0", 2, 4.5, "An older format that some processors run very quickly."),
    Target("IQ4_XS", 30, 4.25, "Smaller than Q4_K_S at nearly the same quality; slower on a processor."),
    Target("IQ4_NL", 25, 4.5, "Like IQ4_XS for models whose rows are no multiple of 256."),
    Target("MXFP4", 38, 4.25, "The format of models published in 4 bits, such as gpt-oss.", False, False, EXPERTS_NOTE),
    Target("Q3_K_L", 13, 4.3, "When Q4_K_M does not fit; the loss can be noticed."),
    Target("Q3_K_M", 12, 3.9, "When memory is short; the loss can be noticed."),
    Target("Q3_K_S", 11, 3.5, "When memory is very short; clearly worse."),
    Target("IQ3_M", 27, 3.7, "Better than Q3_K_M at a smaller size; slower on a processor."),
    Target("IQ3_S", 26, 3.5, "Better than Q3_K_S at the same size; slower on a processor."),
    Target("IQ3_XS", 22, 3.3, "Between IQ3_S and IQ3_XXS.", True),
    Target("IQ3_XXS", 23, 3.06, "The best at about three bits; slower on a processor.", True),
    Target("Q2_K", 10, 2.96, "A last resort for large models; small ones suffer badly."),
    Target("Q2_K_S", 21, 2.75, "Smaller than Q2_K, and worse.", True),
    Target("IQ2_M", 29, 2.7, "The best at under three bits, for large models only.", True),
    Target("IQ2_S", 28, 2.5, "For large models only.", True),
    Target("IQ2_XS", 20, 2.31, "For large models only.", True),
    Target("IQ2_XXS", 19, 2.06, "For large models only; very lossy.", True),
    Target("IQ1_M", 31, 1.75, "For very large models that would not run otherwise.", True),
    Target("IQ1_S", 24, 1.56, "The smallest there is; for very large models only.", True),
    Target("TQ2_0", 37, 2.06, "For models trained with ternary weights.", False, False, TERNARY_WARNING),
    Target("TQ1_0", 36, 1.69, "For models trained with ternary weights; smaller and slower than TQ2_0.", False, False,
           TERNARY_WARNING),
)  # fmt: skip
_BY_NAME = {target.name: target for target in TARGETS}
_ALIASES = {
    "Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M", "MXFP4_MOE": "MXFP4", "FP16": "F16",
}  # fmt: skip

# Quants that a source may be without a warning: nothing was rounded away in them.
FULL_PRECISION = frozenset({"F32", "F16", "BF16"})

# Tensor types that llama.cpp refuses to make of a layer without an importance matrix.
NEEDS_MATRIX = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})

# Types a person may choose for single tensors.
TENSOR_TYPE_NUMBERS: dict[str, int] = {
    kind.name: number
    for number, kind in TENSOR_TYPES.items()
    if not kind.name.startswith(("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"))
}


def find_target(name: str) -> Target:
    """Raises `SlmDeskError("target_unknown")` with close matches in the hint."""
    wanted = name.strip().upper().replace("-", "_")
    found = _BY_NAME.get(_ALIASES.get(wanted, wanted))
    if found is not None:
        return found
    import difflib

    near = difflib.get_close_matches(wanted, _BY_NAME, n=3, cutoff=0.5)
    known = f"Did you mean {', '.join(near)}?" if near else f"Known are: {', '.join(_BY_NAME)}."
    raise SlmDeskError("target_unknown", f"There is no quant {name!r}.", known)


def find_targets(names: Iterable[str]) -> list[Target]:
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
