"""Which weights llama.cpp copies into an order that this processor multiplies faster, and how large the copies are.

Read off ggml-cpu's repack.cpp (`ggml_repack_get_optimal_repack_type`) and amx/ (`supports_op`,
`ggml_backend_amx_get_alloc_size`). Where the processor has AMX and the library was built with it, AMX comes first.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core import hardware

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slmdesk.formats.gguf import TensorInfo


@dataclass(frozen=True, slots=True)
class Rule:
    """A type is copied where the matrix's rows and their length divide by these. `size`: of the copy to the original.

    `experts`: also where a matrix stands for several experts.
    """

    rows: int
    length: int = 1
    size: float = 1.0
    experts: bool = True


Rules = dict[str, tuple[Rule, ...]]

_X86: Mapping[str, Rule] = {name: Rule(8) for name in ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4")}
_AVX512: Mapping[str, Rule] = {"Q2_K": Rule(8)}
_ARM: Mapping[str, Rule] = {
    **{name: Rule(4) for name in ("Q4_0", "IQ4_NL", "MXFP4", "Q8_0")},
    **{name: Rule(8) for name in ("Q4_K", "Q5_K", "Q6_K")},
}
# Blocks of Q8_0 get the sum of their numbers with them (34 bytes to 38), others room for their scales.
_AMX: Mapping[str, Rule] = {
    "Q4_0": Rule(32, 32, experts=False),
    "Q4_1": Rule(32, 32, experts=False),
    "Q8_0": Rule(32, 32, 38 / 34, experts=False),
    "Q4_K": Rule(32, 256, 148 / 144, experts=False),
    "Q5_K": Rule(32, 256, 180 / 176, experts=False),
    "Q6_K": Rule(32, 256, experts=False),
    "IQ4_XS": Rule(32, 256, 138 / 136, experts=False),
    "F16": Rule(32, 16, experts=False),
}
_AMX_MARK = b"AMX is not ready to be used"  # a text of the code that is only there where AMX was built in


@cache
def rules() -> Rules:
    """The rules of this processor and build."""
    if (
        sys.platform == "darwin"
    ):  # no Mac's features decide anything here, and asking for them starts commands
        return rules_for(platform.machine())
    _, features = hardware.processor()
    return rules_for(platform.machine(), features, amx_built="amx_int8" in features and _built_with_amx())


def rules_for(machine: str, features: Iterable[str] = (), *, amx_built: bool = False) -> Rules:
    """The rules of a processor with these features (`hardware.processor` names them)."""
    features = set(features)
    kinds: list[Mapping[str, Rule]] = []
    if machine.lower() in {"x86_64", "amd64"}:
        if amx_built and {"amx_int8", "avx512_vnni"} <= features:
            kinds.append(_AMX)
        kinds.append(_X86)
        if "avx512f" in features:
            kinds.append(_AVX512)
    elif machine.lower() in {"arm64", "aarch64"}:
        kinds.append(_ARM)
    names = dict.fromkeys(name for kind in kinds for name in kind)
    return {name: tuple(kind[name] for kind in kinds if name in kind) for name in names}


def copy_bytes(tensor: TensorInfo, found: Rules) -> int:
    """Bytes of the copy that is made of a matrix; 0 where none is."""
    if len(tensor.shape) < 2:
        return 0
    length, rows = tensor.shape[0], tensor.shape[1]
    for rule in found.get(tensor.type.name, ()):
        if rows % rule.rows == 0 and length % rule.length == 0 and (rule.experts or len(tensor.shape) == 2):
            return int(tensor.nbytes * rule.size)
    return 0


def _built_with_amx() -> bool:
    """Whether a library for this processor has code for AMX in it. Reads libraries of a megabyte or two."""
    spec = importlib.util.find_spec("llama_cpp")  # finds, does not import
    for place in (spec.submodule_search_locations if spec is not None else None) or ():
        for file in Path(place).rglob("*ggml-cpu*"):
            try:
                if file.suffix != ".py" and _AMX_MARK in file.read_bytes():
                    return True
            except OSError:
                continue
    return False
