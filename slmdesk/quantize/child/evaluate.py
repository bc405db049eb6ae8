"""In the child: run a model over a text in chunks, the way llama.cpp's own tools do.

The text is cut into chunks of equal length (512 tokens); the first token of each chunk becomes the
begin-of-text token where the model wants one; every chunk starts with an empty memory.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.core.cores import model_threads
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.steps import holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slmdesk.quantize.child.ggml import QuantizerLibrary

_STEP_BYTES = 40_000_000  # of logits held at once
_FEWEST_ROWS = 16
_TINY = 40e6  # bytes; such a model loses more by meeting of threads than it wins (see engines.sizing)


def load(
    library: QuantizerLibrary,
    path: str,
    *,
    gpu_layers: int = 0,
    vocabulary_only: bool = False,
    check_weights: bool = False,
) -> int:
    """A model's handle. Raises `SlmDeskError("model_damaged")`; the reason is on stderr."""
    api = library.api
    parameters = api.llama_model_default_params()
    parameters.n_gpu_layers = 0 if holds(library.step, "no_gpu") else gpu_layers
    parameters.use_extra_bufts = not holds(library.step, "no_extra_buffers")
    parameters.vocab_only = vocabulary_only
    parameters.check_tensors = check_weights
    handle = api.llama_model_load_from_file(os.fsencode(path), parameters)
    if not handle:
        raise SlmDeskError(
            "model_damaged",
            f"llama.cpp does not load {Path(path).name}.",
            "The details say why.",
        )
    return int(handle)


def tokenize(
    library: QuantizerLibrary, model: int, text: Path, *, special: bool = False
) -> NDArray[np.int32]:
    """The tokens of a text file, with what the model wants in front. `special`: texts such as `<|im_end|>` are
    their control tokens. Raises `SlmDeskError("text_unreadable")`."""
    try:
        data = text.read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise SlmDeskError(
            "text_unreadable", f"{text} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise SlmDeskError(
            "text_unreadable", f"{text.name} is not plain UTF-8 text.", "Save it as UTF-8 text."
        ) from error
    return tokenize_text(library, model, data, special=special)


def tokenize_text(
    library: QuantizerLibrary, model: int, data: bytes, *, special: bool = False, first: bool = True
) -> NDArray[np.int32]:
    """The tokens of UTF-8 text; with `first` after what the model wants in front."""
    api = library.api
    vocabulary = api.llama_model_get_vocab(model)
    room = len(data) + 16
    tokens = (ctypes.c_int32 * room)()
    count = api.llama_tokenize(vocabulary, data, len(data), tokens, room, first, special)
    if count < 0:
        room = -count
        tokens = (ctypes.c_int32 * room)()
        count = api.llama_tokenize(vocabulary, data, len(data), tokens, room, first, special)
    return np.array(tokens[: max(count, 0)], np.int32)


def chunks_of(tokens: NDArray[np.int32], chunk: int, most: int, text: Path) -> NDArray[np.int32]:
    """The tokens as an array of shape (chunks, chunk). Raises `SlmDeskError("text_too_short")` below two chunks."""
    if len(tokens) < 2 * chunk:
        raise SlmDeskError(
            "text_too_short",
            f"{text.name} has {len(tokens)} tokens; at least {2 * chunk} are needed.",
            "Choose a longer text.",
        )
    count = len(tokens) // chunk
    count = min(count, most) if most > 0 else count
    return tokens[: count * chunk].reshape(count, chunk)


def rows_at_once(vocabulary: int, chunk: int) -> int:
    """How many rows of logits are made at once, so that their memory stays bounded; a divisor of half a chunk."""
    rows = chunk // 2
    while rows % 2 == 0 and rows > _FEWEST_ROWS and rows * vocabulary * 4 > _STEP_BYTES:
        rows //= 2
    return rows


class Evaluator:
    """A context for chunks of one length. `on_node` is llama.cpp's evaluation callback: (tensor, ask) -> bool."""

    def __init__(
        self,
        library: QuantizerLibrary,
        model: int,
        *,
        chunk: int,
        threads: int = 0,
        on_node: Callable[[int, bool], bool] | None = None,
        file_bytes: int = 0,
    ) -> None:
        api = library.api
        self._api = api
        vocabulary = api.llama_model_get_vocab(model)
        self.vocabulary: int = api.llama_vocab_n_tokens(vocabulary)
        self._bos: int | None = (
            api.llama_vocab_bos(vocabulary) if api.llama_vocab_get_add_bos(vocabulary) else None
        )
        self.chunk = chunk
        self.rows = rows_at_once(self.vocabulary, chunk)
        parameters = api.llama_context_default_params()
        parameters.n_ctx = chunk
        parameters.n_batch = parameters.n_ubatch = max(chunk // 2, self.rows)
        parameters.n_seq_max = 1
        parameters.n_outputs_max = self.rows
        threads = threads or (1 if 0 < file_bytes < _TINY else model_threads())
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        if holds(library.step, "no_flash_attention"):
            parameters.flash_attn_type = 0
        if on_node is not None:
            self._callback = api.ggml_backend_sched_eval_callback(lambda tensor, ask, _: on_node(tensor, ask))
            parameters.cb_eval = self._callback
        self.handle = api.llama_init_from_model(model, parameters)
        if not self.handle:
            raise SlmDeskError(
                "out_of_memory",
                "There is not enough memory to run the model.",
                "Close other programs, or choose fewer quants at once.",
            )
        self._memory = api.llama_get_memory(self.handle)
        size = parameters.n_batch
        self._token, self._pos = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self._wanted = np.zeros(size, np.int8)
        self._ones, self._sequence = np.ones(size, np.int32), np.zeros(1, np.int32)
        self._sequences = np.full(size, self._sequence.ctypes.data, np.uintp)
        self._batch = api.llama_batch()
        self._batch.token = _pointer(self._token, ctypes.c_int32)
        self._batch.pos = _pointer(self._pos, ctypes.c_int32)
        self._batch.n_seq_id = _pointer(self._ones, ctypes.c_int32)
        self._batch.seq_id = _pointer(self._sequences, ctypes.POINTER(ctypes.c_int32))
        self._batch.logits = _pointer(self._wanted, ctypes.c_int8)

    def start(self, tokens: NDArray[np.int32], *, keep_first: bool = False) -> None:
        """Take up a chunk: forget the last one, and put the begin-of-text token where it belongs, in place of the
        first one (not with `keep_first`: a prompt has its own)."""
        self._api.llama_memory_clear(self._memory, True)
        self._tokens = tokens.copy()
        if self._bos is not None and not keep_first:
            self._tokens[0] = self._bos

    def feed(self, begin: int, end: int, *, wanted: bool) -> None:
        """Evaluate a stretch of the chunk. Raises `SlmDeskError("evaluation_failed")`."""
        count = end - begin
        self._token[:count] = self._tokens[begin:end]
        self._pos[:count] = np.arange(begin, end)
        self._wanted[:count] = 1 if wanted else 0
        self._batch.n_tokens = count
        result = self._api.llama_decode(self.handle, self._batch)
        if result != 0:
            raise SlmDeskError(
                "evaluation_failed",
                f"llama.cpp could not evaluate the text (status {result}).",
                "The model may be damaged; the details say more.",
            )

    def follow(self, position: int, token: int) -> None:
        """Put a chosen token into the chunk."""
        self._tokens[position] = token

    def logits(self, count: int) -> NDArray[np.float32]:
        """The rows of the last `feed`, shape (count, vocabulary). A view that the next `feed` overwrites."""
        pointer = self._api.llama_get_logits(self.handle)
        return np.ctypeslib.as_array(pointer, (count, self.vocabulary))

    def close(self) -> None:
        if self.handle:
            self._api.llama_free(self.handle)
            self.handle = None


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
