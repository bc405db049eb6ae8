"""In the child: llama.cpp's own quantizer, its parameters, and what it says while it works."""

from __future__ import annotations

import ctypes
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.cores import worker_threads
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.child.ggml import QuantizerLibrary
from slmdesk.quantize.targets import find_target, tensor_type_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.formats.quants import QuantFormat
    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.matrix_file import Matrix
    from slmdesk.quantize.protocol import MatrixUse, Options, QuantizeSpec

_TENSOR = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]\s+(\S+)\s+-\s+\[[^\]]*\], type =\s+(\S+),")
_BECOMES = re.compile(r"converting to (\w+)|MiB \((\w+)\)\s*$")
_FALLBACK = re.compile(
    r"^warning:\s+(\S+)\s+- ncols\s+\d+ not divisible by\s+\d+ \(required for type\s+(\w+)\).*falling back to\s+(\w+)"
)
_INTEGER, _STRING = 0, 3  # enum llama_model_kv_override_type
_TEXT_LIMIT = 127


@dataclass(slots=True)
class Heard:
    """What llama.cpp said about the tensors: their types beforehand and afterwards, and those it could not give
    the type that was meant for them (name, meant, given)."""

    types: dict[str, str] = field(default_factory=dict)
    fallbacks: list[tuple[str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def line(self, line: str) -> None:
        if found := _FALLBACK.match(line):
            self.fallbacks.append((found[1], found[2].upper(), found[3].upper()))
        elif "failed to quantize" in line or "error" in line.lower():
            self.problems.append(line)  # also when it goes on behind what was said of a tensor
        elif found := _TENSOR.match(line):
            becomes = _BECOMES.search(line)
            self.types[found[3]] = ((becomes[1] or becomes[2]) if becomes else found[4]).upper()


class Parameters:
    """llama.cpp's parameters for one target. Keeps alive what they point to."""

    def __init__(self, library: QuantizerLibrary, target: QuantFormat, options: Options) -> None:
        api = library.api
        self._api = api
        self._kept: list[Any] = []
        self.native = api.llama_model_quantize_default_params()
        self.native.ftype = target.ftype
        self.native.nthread = options.threads or worker_threads()
        self.native.pure = options.pure
        self.native.keep_split = options.keep_split
        self.native.allow_requantize = True
        if options.output_type:
            self.native.output_tensor_type = tensor_type_number(options.output_type)
        if options.embedding_type:
            self.native.token_embedding_type = tensor_type_number(options.embedding_type)
        if options.overrides:
            self._override(options.overrides)

    def _override(self, overrides: tuple[tuple[str, str], ...]) -> None:
        array = (self._api.llama_model_tensor_override * (len(overrides) + 1))()
        for index, (pattern, kind) in enumerate(overrides):
            array[index].pattern = pattern.encode()
            array[index].type = tensor_type_number(kind)
        array[len(overrides)].type = self._api.GGML_TYPE_COUNT
        self._kept.append(array)
        self.native.tt_overrides = array

    def use_matrix(self, matrix: Matrix | None, use: MatrixUse) -> None:
        """Hand over an importance matrix; None stands for one that is still to be computed (dry runs only)."""
        import numpy as np

        weights = matrix.weights() if matrix is not None else {"to.be.computed": np.ones(1, np.float32)}
        array = (self._api.llama_model_imatrix_data * (len(weights) + 1))()
        for index, (name, values) in enumerate(weights.items()):
            array[index].name = name.encode()
            array[index].data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            array[index].size = len(values)
        self._kept += [array, weights]
        self.native.imatrix = array
        self._note(matrix_notes(use, len(weights), matrix.chunks if matrix is not None else 1))

    def _note(self, notes: Mapping[str, str | int]) -> None:
        """Entries of metadata, as llama-quantize adds them."""
        array = (self._api.llama_model_kv_override * (len(notes) + 1))()
        for entry, (key, value) in zip(array, notes.items(), strict=False):
            entry.key = key.encode()
            if isinstance(value, int):
                entry.tag, entry.value.val_i64 = _INTEGER, value
            else:
                entry.tag, entry.value.val_str = _STRING, value.encode()[:_TEXT_LIMIT]
        self._kept.append(array)
        self.native.kv_overrides = array


def matrix_notes(use: MatrixUse, entries: int, chunks: int) -> dict[str, str | int]:
    """What a quant says about its matrix. The file's name without its folder, which is nobody's business."""
    notes: dict[str, str | int] = {"quantize.imatrix.file": use.name}
    if use.dataset:
        notes["quantize.imatrix.dataset"] = use.dataset
    notes["quantize.imatrix.entries_count"] = entries
    if chunks > 0:
        notes["quantize.imatrix.chunks_count"] = chunks
    return notes


def run(spec: QuantizeSpec, tell: Teller) -> dict[str, Any]:
    """Quantize. The result: `files` written, `seconds` in llama.cpp, `fallbacks`, `types`, and `spared`: the types of
    tensors that could not have what was meant for them (see `sparing`).

    Raises `SlmDeskError`: `weights_invalid`, `imatrix_mismatch`, `imatrix_needed`, `disk_full`, `quantize_failed`.
    """
    library = QuantizerLibrary()
    target = find_target(spec.target)
    source = Path(spec.source).absolute()
    use, matrix = spec.matrix, None
    if use is not None:
        from slmdesk.quantize.matrix_file import read_matrix  # brings numpy

        matrix = read_matrix(Path(use.path))
    from slmdesk.quantize.child.sparing import settled

    parameters, spared = settled(library, source, target, spec.options, matrix=matrix, use=use)
    parameters.native.max_buf_size = spec.buffer_bytes
    heard = Heard()
    library.on_line = heard.line
    library.on_text = _progress(tell)
    os.chdir(spec.folder)  # and a plain name: on Windows llama.cpp writes to no other
    started = time.perf_counter()
    failed = library.api.llama_model_quantize(
        os.fsencode(source), spec.name.encode(), ctypes.byref(parameters.native)
    )
    seconds = time.perf_counter() - started
    if failed:
        raise failure(heard, source, Path(spec.folder))
    files = sorted(path.name for path in Path(spec.folder).glob(f"{Path(spec.name).stem}*.gguf"))
    if spec.name in files:
        files = [spec.name]
    # From the files: a word about the matrix may stand in the middle of what llama.cpp says of a tensor.
    types = {t.name: t.type.name.upper() for name in files for t in read_header(Path(name)).tensors}
    tell(1, 1, force=True)
    return {
        "files": files,
        "seconds": seconds,
        "fallbacks": [*spared, *heard.fallbacks],
        "spared": {name: types[name] for name, _, _ in spared if name in types},
        "types": types,
    }


def _progress(tell: Teller) -> Any:
    last = 0

    def hear(text: str) -> None:
        nonlocal last
        found = _TENSOR.match(text)
        if found and int(found[1]) != last:
            last = int(found[1])
            tell(last - 1, int(found[2]), found[3])

    return hear


def failure(heard: Heard, source: Path, folder: Path) -> SlmDeskError:
    """What llama.cpp's complaint means."""
    text = "\n".join(heard.problems)
    details = text[-2000:]
    if found := re.search(r"tensor '([^']+)' has invalid data", text):
        return SlmDeskError(
            "weights_invalid",
            f"{source.name} holds weights that are not numbers (NaN or infinite), in the tensor {found[1]}.",
            "The file is damaged or the training went wrong; get another copy of the model.",
            details=details,
        )
    if "imatrix size" in text:
        return matrix_mismatch(source, details)
    if "requires an imatrix" in text or "Missing importance matrix" in text:
        return SlmDeskError(
            "imatrix_needed",
            "This quant cannot be made without an importance matrix that covers the model.",
            "Let it be computed.",
            details=details,
        )
    if re.search(r"iostream|ios_base|basic_ios|No space", text):
        return _not_written(folder, details)
    if re.search(r"regex|Parenthes|Mismatched|Unexpected|Invalid|bracket|escape", text):
        return SlmDeskError(
            "pattern_invalid",
            "A pattern for single tensors is no regular expression.",
            "Correct the pattern, for example attn_v=q8_0.",
            details=details,
        )
    if re.search(r"bad_alloc|allocat", text):
        return SlmDeskError(
            "out_of_memory",
            f"There is not enough memory to quantize {source.name}.",
            "Close other programs and try again.",
            details=details,
        )
    if "validation failed" in text:
        return SlmDeskError(
            "weights_invalid",
            f"Weights of {source.name} are so large or small that this quant cannot hold them.",
            "Choose another quant, such as Q8_0.",
            details=details,
        )
    return SlmDeskError(
        "quantize_failed",
        f"llama.cpp could not quantize {source.name}.",
        "The details say why; another quant may work.",
        details=details,
    )


def matrix_mismatch(source: Path, details: str = "") -> SlmDeskError:
    return SlmDeskError(
        "imatrix_mismatch",
        f"The importance matrix belongs to another model than {source.name}.",
        "Choose the matrix of this model, or let it be computed.",
        details=details,
    )


def _not_written(folder: Path, details: str) -> SlmDeskError:
    import shutil

    if shutil.disk_usage(folder).free < 32 * 1024 * 1024:
        return SlmDeskError(
            "disk_full",
            f"The disk of {folder} became full.",
            "Free some space there and try again.",
            details=details,
        )
    return SlmDeskError(
        "file_unwritable",
        f"The quant could not be written to {folder}.",
        "Check that its disk is connected and that you may write there.",
        details=details,
    )
