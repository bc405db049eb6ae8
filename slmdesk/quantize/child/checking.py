"""In the child: whether a written quant is what was asked for, loads, and computes."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import check, check_weights, read_header
from slmdesk.quantize.child.evaluate import Evaluator, load
from slmdesk.quantize.child.ggml import QuantizerLibrary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import CheckSpec

_CONTEXT, _GENERATED = 32, 8
_HINT = "Try again; if it happens again, check the disk and the memory of this machine."


def run(spec: CheckSpec, tell: Teller) -> dict[str, Any]:
    """The result: `sha256` and `sizes` by file name (not with `load_only`), `tokens` generated, `seconds`.

    Raises `SlmDeskError("check_failed")` with what is wrong.
    """
    started = time.perf_counter()
    files = [Path(name) for name in spec.files]
    if spec.vocabulary_only:
        _loaded(QuantizerLibrary(), files[0], vocabulary_only=True)
        return {"tokens": [], "seconds": time.perf_counter() - started}
    if spec.load_only:
        return {"tokens": _generate(files[0], spec.threads), "seconds": time.perf_counter() - started}
    _check_headers(files, spec.types)
    tell(1, 3, force=True)
    hashes = {file.name: _sha256(file) for file in files}
    tell(2, 3, force=True)
    tokens = _generate(files[0], spec.threads)
    tell(3, 3, force=True)
    return {
        "sha256": hashes,
        "sizes": {file.name: file.stat().st_size for file in files},
        "tokens": tokens,
        "seconds": time.perf_counter() - started,
    }


def _check_headers(files: list[Path], types: Mapping[str, str]) -> None:
    found: dict[str, str] = {}
    for number, file in enumerate(files):
        try:
            header = read_header(file)
            (check if number == 0 else check_weights)(header)
        except SlmDeskError as error:
            raise _failed(error.message) from error
        if header.data_offset + header.data_bytes > header.file_bytes:
            raise _failed(f"{file.name} is cut off")
        found |= {tensor.name: tensor.type.name.upper() for tensor in header.tensors}
    missing = types.keys() - found.keys()
    if missing or found.keys() - types.keys():
        raise _failed(f"it holds {len(found)} tensors in place of {len(types)}")
    other = [name for name, kind in types.items() if found[name] != kind]
    if other:
        raise _failed(f"{other[0]} is {found[other[0]]} in place of {types[other[0]]}")


def _loaded(library: QuantizerLibrary, file: Path, *, vocabulary_only: bool = False) -> int:
    heard: list[str] = []
    library.on_line = heard.append
    try:
        return load(library, str(file), check_weights=not vocabulary_only, vocabulary_only=vocabulary_only)
    except SlmDeskError as error:
        telling = [line for line in heard if "invalid data" in line and "'" in line]
        telling += [line for line in heard if "error" in line or "invalid" in line]
        reason = telling[0] if telling else ""
        reason = reason[max(reason.find("tensor '"), 0) :].strip()
        raise _failed(f"llama.cpp does not load it ({reason})" if reason else error.message) from error


def _generate(file: Path, threads: int) -> list[int]:
    library = QuantizerLibrary()
    model = _loaded(library, file)
    evaluator = Evaluator(library, model, chunk=_CONTEXT, threads=threads, file_bytes=file.stat().st_size)
    token = int(library.api.llama_vocab_bos(library.api.llama_model_get_vocab(model)))
    tokens = np.zeros(_CONTEXT, np.int32)
    tokens[0] = token if 0 <= token < evaluator.vocabulary else 0
    evaluator.start(tokens)
    made: list[int] = []
    for position in range(_GENERATED):
        evaluator.feed(position, position + 1, wanted=True)
        logits = evaluator.logits(1)[0]
        if not np.isfinite(logits).all():
            raise _failed("it computes values that are not finite")
        made.append(int(logits.argmax()))
        evaluator.follow(position + 1, made[-1])
    return made


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _failed(why: str) -> SlmDeskError:
    return SlmDeskError(
        "check_failed", f"The quant was written, but fails its check: {why.rstrip('.')}.", _HINT
    )
