"""What quants of a safetensors folder will cost, from its headers alone: before anything is converted.

Sizes are estimates: which type each tensor gets is llama.cpp's choice once the GGUF is there. They follow its rules for
rows that are no multiple of 256, and for the output tensor, which it keeps finer than the rest.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from slmdesk.core.cores import worker_threads
from slmdesk.core.space import existing_parent
from slmdesk.formats.ggml_types import TENSOR_TYPES
from slmdesk.formats.quants import SHORT_ROWS
from slmdesk.quantize.planning import (
    QuantForecast,
    QuantizePlan,
    QuantizeStep,
    Reckoner,
    convert_step,
    matrix_words,
    measured_by_default,
)
from slmdesk.quantize.request import AUTO
from slmdesk.quantize.targets import find_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.formats.quants import QuantFormat
    from slmdesk.quantize.hf_folder import HfFolder
    from slmdesk.quantize.planning import Destination
    from slmdesk.quantize.request import Request
    from slmdesk.quantize.store import Pace

_TEXT_TOKENS = 7_000  # about what the built-in texts are
_WEIGHT_S = 1.5e-8  # seconds a weight takes on one thread, before it is tried out
_BLOCK, _SHORT_BLOCK = 256, 32
_BITS = {kind.name: kind.size * 8 / kind.block for kind in TENSOR_TYPES.values()}
_OUTPUT_BITS, _SHORT_OUTPUT_BITS = _BITS["Q6_K"], _BITS["Q8_0"]
_OUTPUTS, _EMBEDDINGS = (
    ("lm_head.weight", "embed_out.weight"),
    ("embed_tokens.weight", "wte.weight", "embed_in.weight"),
)


def folder_forecast(
    request: Request,
    folder: HfFolder,
    place: Destination,
    paces: Mapping[tuple[str, str], Pace],
    vocabulary: int,
) -> QuantizePlan:
    """An estimate for every target. Blocking: the disk is asked for its free space."""
    parameters = sum(header.parameters for header in folder.headers.values())
    threads = request.options.threads or worker_threads()
    reckoner = Reckoner(parameters, vocabulary, threads, paces, _TEXT_TOKENS, _TEXT_TOKENS)
    steps: list[QuantizeStep] = [convert_step(folder.bytes, paces)]
    if request.matrix == AUTO:
        steps.append(reckoner.matrix())
    quants = []
    for name in request.targets:
        target = find_target(name)
        size = estimated_bytes(folder, target)
        step = reckoner.step("quantize", name, parameters * _WEIGHT_S / threads)
        steps += [step, reckoner.check(size, name)]
        path = place.final(request, name, 1)[0]
        quants.append(
            QuantForecast(
                quant=name,
                path=str(path),
                bytes=size,
                bits_per_weight=size * 8 / max(parameters, 1),
                seconds=step.seconds,
                error=step.error,
                memory_bytes=0,
                fallbacks=(),
                needs_matrix=target.needs_matrix,
                warning=target.warning,
                exists=path.exists(),
                types={},
            )
        )
    measured = measured_by_default(request, parameters)
    if measured:
        steps.append(reckoner.measure(len(quants)))
        steps += [reckoner.speed(quant.bytes, quant.quant) for quant in quants]
    return QuantizePlan(
        quants=tuple(quants),
        steps=tuple(steps),
        seconds=sum(step.seconds for step in steps),
        disk_bytes=sum(quant.bytes for quant in quants) + folder.gguf_bytes,
        free_bytes=shutil.disk_usage(existing_parent(place.folder)).free,
        warnings=(*folder.warnings, *(quant.warning for quant in quants if quant.warning)),
        measured=measured,
        text="",
        matrix=matrix_words(request),
        estimated=True,
    )


def estimated_bytes(folder: HfFolder, target: QuantFormat) -> int:
    """About the bytes of the quant; the vocabulary's share is small and left to chance."""
    tensors = [tensor for header in folder.headers.values() for tensor in header.tensors]
    tied = not any(tensor.name.endswith(_OUTPUTS) for tensor in tensors)
    total = 0.0
    for tensor in tensors:
        count = 1
        for length in tensor.shape:
            count *= length
        if len(tensor.shape) < 2:
            total += 4 * count  # rows alone stay F32
            continue
        output = tensor.name.endswith(_OUTPUTS) or (tied and tensor.name.endswith(_EMBEDDINGS))
        total += count * _bits(target, tensor.shape[-1], output=output) / 8
    return int(total)


def _bits(target: QuantFormat, columns: int, *, output: bool) -> float:
    if target.layer_bits >= 16.0 or columns % _SHORT_BLOCK:
        return 16.0
    bits, least = target.layer_bits, _OUTPUT_BITS
    if columns % _BLOCK:
        bits = _BITS[SHORT_ROWS[target.tensor]] if target.tensor in SHORT_ROWS else bits
        least = _SHORT_OUTPUT_BITS
    return max(bits, least) if output and not target.ternary else bits
