"""In the child: how quick one model is here, and how much memory it takes, with nothing else loaded."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.quantize.child.evaluate import Evaluator, load, tokenize
from slmdesk.quantize.child.ggml import QuantizerLibrary

if TYPE_CHECKING:
    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import SpeedSpec

CONTEXT = 1024  # tokens
_PROMPT, _SHORT, _GENERATED = 512, 64, 64
_MOST_S = 6.0  # for one of the measurements
_TRIES = 3  # the best counts: whatever else runs only slows it down


def run(spec: SpeedSpec, tell: Teller) -> dict[str, Any]:
    """The result: `load_seconds`, `first_token_seconds` (after a prompt of 64 tokens), `prompt_tokens_s` (512
    tokens), `generation_tokens_s`, `peak_memory_bytes` (context of 1024 tokens), `threads`."""
    library = QuantizerLibrary()
    tell(0, 3)
    started = time.perf_counter()
    model = load(library, spec.path, gpu_layers=spec.gpu_layers)
    size = Path(spec.path).stat().st_size
    evaluator = Evaluator(library, model, chunk=CONTEXT, threads=spec.threads, file_bytes=size)
    load_seconds = time.perf_counter() - started
    tokens = np.resize(tokenize(library, model, Path(spec.text)), CONTEXT)
    _prompt(evaluator, tokens, _SHORT)  # the first pass reads the weights from the disk
    tell(1, 3)
    first = _best(lambda: _prompt(evaluator, tokens, _SHORT))
    prompt = _best(lambda: _prompt(evaluator, tokens, _PROMPT))
    tell(2, 3)
    generation = _generate(evaluator, tokens)
    tell(3, 3, force=True)
    return {
        "load_seconds": load_seconds,
        "first_token_seconds": first,
        "prompt_tokens_s": _PROMPT / prompt,
        "generation_tokens_s": generation,
        "peak_memory_bytes": peak_memory(),
    }


def _best(action: Any) -> float:
    best, begun = float("inf"), time.perf_counter()
    for _ in range(_TRIES):
        started = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - started)
        if time.perf_counter() - begun > _MOST_S:
            break
    return best


def _prompt(evaluator: Evaluator, tokens: Any, count: int) -> int:
    """Evaluate a prompt and choose the next token: what a person waits for."""
    evaluator.start(tokens)
    at = 0
    while at < count - 1:
        end = min(at + CONTEXT // 2, count - 1)
        evaluator.feed(at, end, wanted=False)
        at = end
    evaluator.feed(count - 1, count, wanted=True)
    return int(evaluator.logits(1)[0].argmax())


def _generate(evaluator: Evaluator, tokens: Any) -> float:
    """Tokens a second, one after the other."""
    _prompt(evaluator, tokens, _SHORT)
    best = float("inf")
    begun = time.perf_counter()
    done = 0
    window = time.perf_counter()
    for position in range(_SHORT, _SHORT + 4 * _GENERATED):
        evaluator.feed(position, position + 1, wanted=True)
        evaluator.logits(1)[0].argmax()
        done += 1
        if done % 16 == 0:
            now = time.perf_counter()
            best = min(best, (now - window) / 16)
            window = now
            if now - begun > _MOST_S or done >= 4 * _GENERATED:
                break
    return 1 / best if best < float("inf") else done / (time.perf_counter() - begun)


def peak_memory() -> int:
    """The most memory this process ever had resident, in bytes."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    else:  # noqa: RET505 - mypy follows the platform by branches
        import resource

        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
