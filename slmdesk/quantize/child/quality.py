"""In the child: what quantizing cost, measured: the source and its quants over the same text, side by side.

All models see a stretch of the text one after the other, so that the source runs once for all of them and no
file of its predictions is needed: at most two arrays of `rows x vocabulary` a model are in memory. What was
measured is kept after every chunk; a later run goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.child import divergence
from slmdesk.quantize.child.evaluate import Evaluator, chunks_of, load, tokenize, tokenize_text
from slmdesk.quantize.child.ggml import QuantizerLibrary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import QualitySpec

_OPENS, _CLOSES = b"<|im_start|>assistant\n", b"<|im_end|>"
_KEEP_S = 2.0  # between writes of what was measured so far


class _Run:
    """The rows measured so far: losses of every model; divergence and agreement of the quants."""

    def __init__(self, spec: QualitySpec, names: list[str], chunks: NDArray[np.int32]) -> None:
        self._file = Path(spec.state)
        self._names = names
        self._key = _key(spec, chunks)
        self.done = 0  # chunks
        self.losses: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ["", *names]}
        self.divergences: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
        self.same: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in names}
        self.seconds = 0.0
        self._kept_at = time.monotonic()
        self._read()

    def _read(self) -> None:
        try:
            with np.load(self._file) as file:
                kept = dict(file)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return  # nothing yet, or cut off in the middle of writing: from the start
        if str(kept.get("key")) != self._key:
            return
        self.done, self.seconds = int(kept["done"]), float(kept["seconds"])
        self.losses[""] = [kept["base"]]
        for index, name in enumerate(self._names):
            self.losses[name] = [kept[f"losses{index}"]]
            self.divergences[name] = [kept[f"divergences{index}"]]
            self.same[name] = [kept[f"same{index}"]]

    def keep(self, *, last: bool) -> None:
        """Write what there is, at most every few seconds."""
        if not last and time.monotonic() - self._kept_at < _KEEP_S:
            return
        self._kept_at = time.monotonic()
        arrays: dict[str, Any] = {
            "key": np.array(self._key),
            "done": np.array(self.done),
            "seconds": np.array(self.seconds),
            "base": np.concatenate(self.losses[""]),
        }
        for index, name in enumerate(self._names):
            arrays[f"losses{index}"] = np.concatenate(self.losses[name])
            arrays[f"divergences{index}"] = np.concatenate(self.divergences[name])
            arrays[f"same{index}"] = np.concatenate(self.same[name])
        partial = self._file.with_name(self._file.name + ".new")
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(self._file)

    def results(self) -> dict[str, Any]:
        base = np.concatenate(self.losses[""])
        return {
            "source": divergence.summary(base),
            "quants": {
                name: divergence.summary(
                    np.concatenate(self.losses[name]),
                    base,
                    np.concatenate(self.divergences[name]),
                    np.concatenate(self.same[name]),
                )
                for name in self._names
            },
        }


def _key(spec: QualitySpec, chunks: NDArray[np.int32]) -> str:
    """What the kept rows belong to: the models' files and the tokens."""
    digest = hashlib.sha256(chunks.tobytes() + bytes([spec.answers_only]))
    for path in [spec.source, *spec.quants.values()]:
        status = Path(path).stat()
        digest.update(f"{path}|{status.st_size}|{status.st_mtime_ns}".encode())
    return digest.hexdigest()


def run(spec: QualitySpec, tell: Teller) -> dict[str, Any]:
    """Measure. The result: `source` and `quants` (name to figures, see `divergence.summary`), `chunks`, `tokens`,
    `seconds`, `evaluated_tokens` (by all models, in this run).

    Raises `SlmDeskError`: `text_too_short`, `vocabulary_differs`, `evaluation_failed`, and those of a load.
    """
    library = QuantizerLibrary()
    text = Path(spec.text)
    models = {"": spec.source, **spec.quants}
    handles = {name: load(library, path, gpu_layers=spec.gpu_layers) for name, path in models.items()}
    tokens = tokenize(library, handles[""], text, special=spec.special)
    chunks = chunks_of(tokens, spec.chunk, spec.most_chunks, text)
    scored = np.ones(chunks.shape, np.bool_)
    if spec.answers_only:
        scored = answer_tokens(
            chunks.ravel(),
            *(
                tokenize_text(library, handles[""], marker, special=True, first=False)
                for marker in (_OPENS, _CLOSES)
            ),
        ).reshape(chunks.shape)
    evaluators = {
        name: Evaluator(
            library, handle, chunk=spec.chunk, threads=spec.threads, file_bytes=_size(models[name])
        )
        for name, handle in handles.items()
    }
    if len({evaluator.vocabulary for evaluator in evaluators.values()}) > 1:
        raise SlmDeskError(
            "vocabulary_differs",
            "The models have different vocabularies and cannot be compared.",
            "Compare quants of one model only.",
        )
    measured = _Run(spec, list(spec.quants), chunks)
    at_start = measured.done
    for number in range(at_start, len(chunks)):
        tell(number, len(chunks), **_so_far(measured))
        started = time.perf_counter()
        _chunk(evaluators, chunks[number], scored[number], measured)
        measured.done = number + 1
        measured.seconds += time.perf_counter() - started
        measured.keep(last=number + 1 == len(chunks))
    tell(len(chunks), len(chunks), force=True)
    return {
        **measured.results(),
        "chunks": len(chunks),
        "tokens": int(chunks.size),
        "seconds": measured.seconds,
        "evaluated_tokens": (len(chunks) - at_start) * spec.chunk * len(models),
    }


def _so_far(measured: _Run) -> dict[str, Any]:
    """Perplexities as they stand, for somebody who watches."""
    if not measured.done:
        return {}
    means = {name: np.concatenate(rows).mean() for name, rows in measured.losses.items()}
    return {"perplexities": {name or "source": round(float(np.exp(mean)), 3) for name, mean in means.items()}}


def answer_tokens(
    tokens: NDArray[np.int32], opens: NDArray[np.int32], closes: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which tokens stand in an answer: after `opens`, up to and with `closes`."""
    found = np.zeros(len(tokens), np.bool_)
    at = 0
    while at < len(tokens):
        if np.array_equal(tokens[at : at + len(opens)], opens):
            begin = at = at + len(opens)
            while at < len(tokens) and not np.array_equal(tokens[at : at + len(closes)], closes):
                at += 1
            at = min(at + len(closes), len(tokens))
            found[begin:at] = True
        else:
            at += 1
    return found


def _chunk(
    evaluators: Mapping[str, Evaluator],
    tokens: NDArray[np.int32],
    scored: NDArray[np.bool_],
    measured: _Run,
) -> None:
    """One chunk through all models; of its second half those tokens count that are to be `scored`."""
    size = len(tokens)
    first = size // 2
    source = evaluators[""]
    for evaluator in evaluators.values():
        evaluator.start(tokens)
        evaluator.feed(0, first, wanted=False)
    for begin in range(first, size, source.rows):
        end = min(begin + source.rows, size)
        rows = min(end, size - 1) - begin  # nothing is known of what follows the last token
        if rows <= 0:
            continue
        wanted = scored[begin + 1 : begin + 1 + rows]
        targets = tokens[begin + 1 : begin + 1 + rows][wanted]
        source.feed(begin, end, wanted=True)
        base = divergence.Base.of(source.logits(end - begin)[:rows][wanted])
        measured.losses[""].append(divergence.losses(base.logs, targets))
        for name, evaluator in evaluators.items():
            if name:
                evaluator.feed(begin, end, wanted=True)
                logs = divergence.log_probabilities(evaluator.logits(end - begin)[:rows][wanted])
                measured.losses[name].append(divergence.losses(logs, targets))
                measured.same[name].append(logs.argmax(axis=1) == base.top)
                measured.divergences[name].append(divergence.divergence(base, logs))


def _size(path: str) -> int:
    return os.stat(path).st_size  # noqa: PTH116
