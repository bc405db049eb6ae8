"""In the child: types that a tensor cannot have, replaced by the nearest one that it can.

llama.cpp ends the whole process (GGML_ASSERT) where a type of very few bits has no importance matrix for a tensor, or
where the type asked for the embeddings or the output has blocks that their rows are no multiple of. Calibration never
touches the embeddings, an output tensor, or layers that are not computed, so even a whole matrix does not cover them.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.formats.ggml_types import TENSOR_TYPES
from slmdesk.formats.gguf import read_header
from slmdesk.formats.quants import SHORT_ROWS, WITHOUT_MATRIX
from slmdesk.quantize.child.quantizing import Heard, Parameters
from slmdesk.quantize.source import parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from slmdesk.formats.quants import QuantFormat
    from slmdesk.quantize.child.ggml import QuantizerLibrary
    from slmdesk.quantize.matrix_file import Matrix
    from slmdesk.quantize.protocol import MatrixUse, Options

Spared = tuple[str, str, str]  # tensor, the type that was meant, the type it gets

_BLOCKS = {kind.name.upper(): kind.block for kind in TENSOR_TYPES.values()}
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
_OUTPUT = "output.weight"


def settled(
    library: QuantizerLibrary,
    source: Path,
    target: QuantFormat,
    options: Options,
    *,
    matrix: Matrix | None,
    use: MatrixUse | None,
) -> tuple[Parameters, list[Spared]]:
    """Parameters with which every tensor gets a type it can have, and which tensors that changes.

    `matrix` None with a `use` stands for one that is still to be computed: it will cover the layers.
    """
    columns = {t.name: t.shape[0] for part in parts_of(source) for t in read_header(part).tensors}

    def covered(name: str) -> bool:
        if use is None:
            return False
        return name in matrix.entries if matrix is not None else name.startswith("blk.")

    def made(options: Options) -> Parameters:
        parameters = Parameters(library, target, options)
        if use is not None:
            parameters.use_matrix(matrix, use)
        return parameters

    found: list[Spared] = []
    options = replace(
        options,
        embedding_type=_of_ends(options.embedding_type, _EMBEDDINGS, columns, covered, found),
        output_type=_of_ends(options.output_type, (_OUTPUT,), columns, covered, found),
    )
    parameters = made(options)
    if not (target.needs_matrix or options.overrides):
        return parameters, found
    layers = [s for s in _in_dry_run(library, source, parameters, target) if not covered(s[0])]
    if use is None:  # without any matrix layers of such types are refused, in words
        layers = [s for s in layers if s[0] in {*_EMBEDDINGS, _OUTPUT}]
    own = tuple((f"^{re.sub(r'[.]', '[.]', name)}$", given) for name, _, given in layers)
    return (made(replace(options, overrides=own + options.overrides)) if own else parameters), found + layers


def _of_ends(
    kind: str,
    names: tuple[str, ...],
    columns: Mapping[str, int],
    covered: Callable[[str], bool],
    found: list[Spared],
) -> str:
    """The type for the embeddings or the output: llama.cpp takes what it is told, whether it can be or not."""
    there = [name for name in names if name in columns]
    given = kind
    if any(not covered(name) for name in there):
        given = WITHOUT_MATRIX.get(given, given)
    for name in there:
        if columns[name] % _BLOCKS.get(given, 1):
            given = SHORT_ROWS.get(given, "F16")
        if columns[name] % _BLOCKS.get(given, 1):
            given = "F16"
    if given != kind:
        found += [(name, kind, given) for name in there]
    return given


def _in_dry_run(
    library: QuantizerLibrary, source: Path, parameters: Parameters, target: QuantFormat
) -> list[Spared]:
    """The tensors that would get a type which needs a matrix."""
    heard, before = Heard(), library.on_line
    library.on_line = heard.line
    parameters.native.dry_run = True
    library.api.llama_model_quantize(os.fsencode(source), b"", ctypes.byref(parameters.native))
    parameters.native.dry_run = False
    library.on_line = before
    needing = dict(WITHOUT_MATRIX)
    layers_needing = {**needing, "Q2_K": "Q3_K"} if target.name == "Q2_K_S" else needing
    return [
        (name, kind, table[kind])
        for name, kind in heard.types.items()
        if kind in (table := layers_needing if name.startswith("blk.") else needing)
    ]
