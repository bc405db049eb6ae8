"""The one table of quants: llama.cpp's numbers, what each takes, and what it is good for.

Numbers are those of llama.h (`enum llama_ftype`) of the llama.cpp that the installed llama-cpp-python vendors. Bits are
what its dry run makes of Llama 3.1 8B, whose layers are typical: an 8B model's file is as large as they say, that of a
small model with a large vocabulary a little larger.
"""

from __future__ import annotations

from dataclasses import dataclass

_TERNARY_WARNING = (
    "Keeps only -1, 0 and 1 of every weight: right for a model trained that way (BitNet, TriLM). "
    "Any other model talks nonsense afterwards."
)
_EXPERTS_NOTE = "Only the experts of a mixture-of-experts model get 4 bits; everything else becomes Q8_0."
_WANTS_MATRIX_BITS = 4.52  # a weight of the layers: Q4_0 and what is smaller


@dataclass(frozen=True, slots=True)
class QuantFormat:
    """One quant. `bits` a weight of a whole file takes, `layer_bits` one of the layers' matrices.

    `tensor` is the type that most layers get, before the finer ones that llama.cpp mixes in. `good_for` is a sentence
    for people, "" where we do not make this quant.
    """

    name: str
    ftype: int
    bits: float
    layer_bits: float
    tensor: str
    good_for: str
    needs_matrix: bool  # llama.cpp refuses to make it without an importance matrix
    gains_by_matrix: bool
    warning: str

    @property
    def wants_matrix(self) -> bool:
        """Whether an importance matrix is worth its time: from Q4_0 down, KL divergence falls by a quarter or more."""
        return self.needs_matrix or (self.gains_by_matrix and self.layer_bits <= _WANTS_MATRIX_BITS)

    @property
    def ternary(self) -> bool:
        return self.name.startswith("TQ")

    def bytes_of(self, parameters: int) -> int:
        """About the size of a model's file of this quant."""
        return int(parameters * self.bits / 8)


# Name, llama.cpp's number, bits a weight of a file, of its layers, and the type of most layers. The largest first.
# MXFP4 is that of a model whose weights are nearly all in experts; any other becomes Q8_0.
_NUMBERS: tuple[tuple[str, int, float, float, str], ...] = (
    ("F32", 0, 32.0, 32.0, "F32"),
    ("F16", 1, 16.0, 16.0, "F16"),
    ("BF16", 32, 16.0, 16.0, "BF16"),
    ("Q8_0", 7, 8.5, 8.5, "Q8_0"),
    ("Q6_K", 18, 6.5634, 6.5625, "Q6_K"),
    ("Q5_K_M", 17, 5.7036, 5.6532, "Q5_K"),
    ("Q5_K_S", 16, 5.5704, 5.5, "Q5_K"),
    ("Q5_1", 9, 6.0377, 6.0, "Q5_1"),
    ("Q5_0", 8, 5.585, 5.5168, "Q5_0"),
    ("Q4_K_M", 15, 4.8944, 4.7975, "Q4_K"),
    ("Q4_K_S", 14, 4.6672, 4.5361, "Q4_K"),
    ("Q4_1", 3, 5.1031, 5.0, "Q4_1"),
    ("Q4_0", 2, 4.6505, 4.5168, "Q4_0"),
    ("IQ4_XS", 30, 4.4231, 4.274, "IQ4_XS"),
    ("IQ4_NL", 25, 4.6526, 4.5192, "IQ4_NL"),
    ("MXFP4", 38, 4.25, 4.25, "MXFP4"),
    ("NVFP4", 39, 4.5, 4.5, "NVFP4"),
    ("Q3_K_L", 13, 4.2979, 4.1911, "Q3_K"),
    ("Q3_K_M", 12, 3.996, 3.8438, "Q3_K"),
    ("Q3_K_S", 11, 3.6429, 3.4375, "Q3_K"),
    ("IQ3_M", 27, 3.7628, 3.5754, "IQ3_S"),
    ("IQ3_S", 26, 3.6607, 3.4579, "IQ3_S"),
    ("IQ3_XS", 22, 3.4977, 3.2704, "IQ3_S"),
    ("IQ3_XXS", 23, 3.2548, 3.0709, "IQ3_XXS"),
    ("Q2_K", 10, 3.1594, 2.9423, "Q2_K"),
    ("Q2_K_S", 21, 2.9698, 2.7242, "Q2_K"),
    ("IQ2_M", 29, 2.9294, 2.6965, "IQ2_S"),
    ("IQ2_S", 28, 2.7403, 2.479, "IQ2_XS"),
    ("IQ2_XS", 20, 2.5882, 2.3651, "IQ2_XS"),
    ("IQ2_XXS", 19, 2.3824, 2.1283, "IQ2_XXS"),
    ("Q2_0", 41, 2.25, 2.25, "Q2_0"),
    ("IQ1_M", 31, 2.146, 1.8564, "IQ1_M"),
    ("IQ1_S", 24, 2.0042, 1.6932, "IQ1_S"),
    ("Q1_0", 40, 1.125, 1.125, "Q1_0"),
    ("TQ2_0", 37, 2.5174, 2.0625, "TQ2_0"),
    ("TQ1_0", 36, 2.1914, 1.6875, "TQ1_0"),
)
# Those that we make, in words for people.
_GOOD_FOR = {
    "F16": "No loss to speak of; a base for other quants.",
    "BF16": "As trained by most makers; slower than F16 on most processors.",
    "Q8_0": "Hardly told from the original, at half its size.",
    "Q6_K": "Nearly no loss; a good choice where memory is no worry.",
    "Q5_K_M": "Very little loss.",
    "Q5_K_S": "Very little loss, a little smaller.",
    "Q5_1": "An older format, for programs that know no K-quants.",
    "Q5_0": "An older format, for programs that know no K-quants.",
    "Q4_K_M": "The usual choice: small, quick and close to the original.",
    "Q4_K_S": "Like Q4_K_M, a little smaller and a little worse.",
    "Q4_1": "An older format; Q4_K_M is better at the same size.",
    "Q4_0": "An older format that some processors run very quickly.",
    "IQ4_XS": "Smaller than Q4_K_S, nearly as good; slower on a processor.",
    "IQ4_NL": "Like IQ4_XS for models whose rows are no multiple of 256.",
    "MXFP4": "The format of models published in 4 bits, such as gpt-oss.",
    "Q3_K_L": "When Q4_K_M does not fit; the loss can be noticed.",
    "Q3_K_M": "When memory is short; the loss can be noticed.",
    "Q3_K_S": "When memory is very short; clearly worse.",
    "IQ3_M": "Better than Q3_K_M at a smaller size; slower on a processor.",
    "IQ3_S": "Better than Q3_K_S at the same size; slower on a processor.",
    "IQ3_XS": "Between IQ3_S and IQ3_XXS.",
    "IQ3_XXS": "The best at about three bits; slower on a processor.",
    "Q2_K": "A last resort for large models; small ones suffer badly.",
    "Q2_K_S": "Smaller than Q2_K, and worse.",
    "IQ2_M": "The best at under three bits, for large models only.",
    "IQ2_S": "For large models only.",
    "IQ2_XS": "For large models only.",
    "IQ2_XXS": "For large models only; very lossy.",
    "IQ1_M": "For very large models that would not run otherwise.",
    "IQ1_S": "The smallest there is; for very large models only.",
    "TQ2_0": "For models trained with ternary weights.",
    "TQ1_0": "For models trained with ternary weights; smaller and slower than TQ2_0.",
}
_NEED_MATRIX = frozenset(
    {"IQ3_XS", "IQ3_XXS", "Q2_K_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}
)
_GAIN_NOTHING = frozenset({"F16", "BF16", "Q8_0", "Q6_K", "MXFP4", "TQ2_0", "TQ1_0"})
_WARNINGS = {"MXFP4": _EXPERTS_NOTE, "TQ2_0": _TERNARY_WARNING, "TQ1_0": _TERNARY_WARNING}

QUANTS: dict[str, QuantFormat] = {
    name: QuantFormat(
        *(name, ftype, bits, layer_bits, tensor),
        good_for=_GOOD_FOR.get(name, ""),
        needs_matrix=name in _NEED_MATRIX,
        gains_by_matrix=name not in _GAIN_NOTHING,
        warning=_WARNINGS.get(name, ""),
    )
    for name, ftype, bits, layer_bits, tensor in _NUMBERS
}
BY_FILE_TYPE: dict[int, str] = {quant.ftype: quant.name for quant in QUANTS.values()}
"""`general.file_type` of a GGUF -> the quant's name."""
_ALIASES = {"MXFP4_MOE": "MXFP4", "FP16": "F16", "FP32": "F32"}

USUAL = "Q4_K_M"
"""What suits most people and most models."""
PREFERRED = (
    *(USUAL, "Q5_K_M", "Q4_K_S", "Q5_K_S", "Q6_K", "IQ4_XS", "IQ4_NL", "MXFP4", "Q4_0"),
    *("Q8_0", "Q5_0", "Q4_1", "Q5_1", "F16", "BF16", "F32"),
)
"""Which to take where several would do and nobody said: good quality for its size first."""
FULL_PRECISION = frozenset({"F32", "F16", "BF16"})
"""Quants that a source may be without a warning: nothing was rounded away in them."""

WITHOUT_MATRIX = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"), "Q2_K"),
    "IQ3_XXS": "IQ3_S",
}
"""Tensor types that llama.cpp refuses to make of a layer without an importance matrix (its
`tensor_requires_imatrix`), and the nearest that needs none."""
SHORT_ROWS = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
"""Tensor types with blocks of 256, and the nearest with blocks of 32 (llama.cpp's `tensor_type_fallback`)."""


def quant_named(name: str) -> QuantFormat | None:
    """The quant that a person or a publisher means: "q4_k_m", "Q4_K", "UD-Q4_K_XL", "MXFP4_MOE"; None for others."""
    wanted = name.strip().upper().replace("-", "_").removeprefix("UD_").removesuffix("_XL")
    wanted = _ALIASES.get(wanted, wanted)
    return QUANTS.get(wanted) or QUANTS.get(f"{wanted}_M")
