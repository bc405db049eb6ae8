"""A llama.cpp context: the cache of keys and values, and the batch that is evaluated."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.llama.thread_pool import ThreadPool
from slmdesk.llama.zeros import give_back, give_back_zeros, private_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from slmdesk.llama.model import Model

CACHE_TYPES = {"f16": 1, "q4_0": 2, "q8_0": 8}  # enum ggml_type

# llama_decode's results that a caller can act on.
DECODED, NO_ROOM, ABORTED = 0, 1, 2


class Context:
    """A llama.cpp context with the batch it is fed from.

    The batch's arrays are numpy views over memory made here, so that filling a run of entries is one assignment:
    `token[i]`, `pos[i]`, `seq[i]` (sequence id) and `wanted[i]` (1: logits are needed). Only the worker thread
    touches a context.

    With `thrifty` its cache takes memory as it fills, where the system can; `unused_bytes` of it are not taken yet.
    With a `pooling` (llama.cpp's number) it gives one vector a sequence, see `pooled`, instead of logits. `outputs`:
    entries of a batch that may be wanted; 0: one a sequence.
    """

    def __init__(
        self,
        model: Model,
        *,
        cells: int,
        batch: int,
        sequences: int,
        threads: int,
        cache_type: str = "f16",
        flash_attention: bool = True,
        unified: bool = True,
        thrifty: bool = False,
        pooling: int | None = None,
        outputs: int = 0,
    ) -> None:
        import numpy as np

        native, api = model.native, model.native.api
        self.native = native
        self.model = model
        parameters = api.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = batch
        parameters.n_seq_max = sequences
        # One row of logits each; the default reserves one a batch entry.
        parameters.n_outputs_max = outputs or sequences
        if pooling is not None:
            parameters.embeddings, parameters.pooling_type = True, pooling
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = unified
        parameters.flash_attn_type = -1 if flash_attention else 0  # -1: where the device can
        parameters.type_k = parameters.type_v = CACHE_TYPES[cache_type]
        parameters.no_perf = True
        self._abort = ctypes.create_string_buffer(2)
        self._install_abort(parameters)
        before = private_memory() if thrifty else []
        self.handle: int | None = api.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            raise SlmDeskError("out_of_memory", "llama.cpp could not make room for the context.", "")
        self.unused_bytes = give_back_zeros(before) if thrifty else 0  # now: there are no threads yet
        self._pool = self._keep_threads(threads)
        self.cells: int = api.llama_n_ctx(self.handle)
        self.memory = api.llama_get_memory(self.handle)
        self.size = batch
        self.outputs = sequences  # rows of logits one decode can give
        self.token = np.zeros(batch, np.int32)
        self.pos = np.zeros(batch, np.int32)
        self.seq = np.zeros(batch, np.int32)
        self.wanted = np.zeros(batch, np.int8)
        self._ones = np.ones(batch, np.int32)
        self._seq_pointers = self.seq.ctypes.data + 4 * np.arange(batch, dtype=np.uintp)
        self._batch = api.llama_batch()
        self._batch.token = self._pointer(self.token, ctypes.c_int32)
        self._batch.pos = self._pointer(self.pos, ctypes.c_int32)
        self._batch.n_seq_id = self._pointer(self._ones, ctypes.c_int32)
        self._batch.seq_id = self._pointer(self._seq_pointers, ctypes.POINTER(ctypes.c_int32))
        self._batch.logits = self._pointer(self.wanted, ctypes.c_int8)
        self._decode = api.llama_decode
        self._rows: NDArray[np.float32] | None = None
        self._rows_address = 0

    @staticmethod
    def _pointer(array: NDArray[Any], kind: Any) -> Any:
        return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))

    def _install_abort(self, parameters: Any) -> None:
        """Let `abort` stop a running decode, for free.

        llama.cpp asks a C function "stop?" before every node of its graph, hundreds of times a token. A Python
        callback would have to win the interpreter lock each time. C's own strlen answers from a flag in
        memory instead: an empty string is 0 (go on), a string of one character 1 (stop).
        """
        library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        strlen = ctypes.cast(library.strlen, ctypes.c_void_p).value
        callback_type = type(parameters.abort_callback)
        assert strlen is not None
        parameters.abort_callback = callback_type(strlen)
        parameters.abort_callback_data = ctypes.addressof(self._abort)

    def _keep_threads(self, threads: int) -> ThreadPool | None:
        if "OPENMP = 1" in self.native.system_info() or threads < 2:
            return None
        try:
            pool = ThreadPool(self.native.api, threads)
            pool.attach(self.native.api, self.handle or 0)
        except (OSError, AttributeError):
            return None  # another layout of the libraries: llama.cpp starts threads as it needs them
        return pool

    def abort(self) -> None:
        """Make a running `decode` return `ABORTED` soon (CPU only). Any thread may call this."""
        self._abort[0] = b"\x01"

    def clear_abort(self) -> None:
        self._abort[0] = b"\x00"

    def decode(self, count: int) -> int:
        """Evaluate the first `count` entries of the batch: `DECODED`, `NO_ROOM`, `ABORTED`, or negative."""
        self._batch.n_tokens = count
        return int(self._decode(self.handle, self._batch))

    def logits(self, count: int) -> NDArray[np.float32]:
        """The last decode's logits, one row for each entry that wanted them, in order. A view, not a copy."""
        import numpy as np

        address = self.native.get_logits(self.handle)
        rows = self._rows
        if rows is None or address != self._rows_address or len(rows) < count:
            size = 4 * max(count, 1) * self.model.tokens
            buffer = (ctypes.c_char * size).from_address(address)
            rows = np.frombuffer(memoryview(buffer), np.float32).reshape(max(count, 1), self.model.tokens)
            self._rows, self._rows_address = rows, address
        return rows[:count]

    def pool(self, *, on: bool) -> None:
        """Whether the next decodes give vectors. Where they do, every entry of the batch is an output to llama.cpp."""
        self.native.api.llama_set_embeddings(self.handle, on)

    def pooled(self, sequence: int, width: int) -> NDArray[np.float32]:
        """A copy of the vector of a sequence that the last decode gave; `width` numbers.

        Raises `SlmDeskError("decode_failed")` where it gave none.
        """
        import numpy as np

        pointer = self.native.api.llama_get_embeddings_seq(self.handle, sequence)
        if not pointer:
            raise SlmDeskError("decode_failed", "llama.cpp gave no vector for a text.", "")
        return np.ctypeslib.as_array(pointer, (width,)).copy()

    def give_back_logits(self, count: int) -> None:
        """Give back the memory of `count` rows of logits, which the last decode made room for and nobody reads.

        llama.cpp keeps a row of them for each output, also of a model that has no logits, and fills it with zeros.
        """
        address = self.native.get_logits(self.handle)
        if address:
            give_back(address, 4 * count * self.model.tokens)

    def remove(self, sequence: int, start: int = -1) -> bool:
        """Forget positions of a sequence from `start` on (-1: all). False where the memory cannot be cut there."""
        return bool(self.native.api.llama_memory_seq_rm(self.memory, sequence, start, -1))

    def copy(self, source: int, target: int, end: int) -> None:
        """Let `target` share the first `end` positions of `source`."""
        self.native.api.llama_memory_seq_cp(self.memory, source, target, 0, end)

    def state_size(self, sequence: int) -> int:
        """Bytes that `save` would give."""
        return int(self.native.api.llama_state_seq_get_size(self.handle, sequence))

    def save(self, sequence: int) -> NDArray[np.uint8] | None:
        """A copy of what the memory holds for a sequence; None where that is not possible."""
        import numpy as np

        state = np.empty(self.state_size(sequence), np.uint8)
        size = self.native.api.llama_state_seq_get_data(
            self.handle, self._pointer(state, ctypes.c_uint8), len(state), sequence
        )
        return state[:size] if size else None

    def restore(self, sequence: int, state: NDArray[np.uint8]) -> bool:
        """Put back what `save` gave. False when there are not enough free cells."""
        return bool(
            self.native.api.llama_state_seq_set_data(
                self.handle, self._pointer(state, ctypes.c_uint8), len(state), sequence
            )
        )

    def clear(self) -> None:
        """Forget all positions. Encoders keep none."""
        if self.memory:
            self.native.api.llama_memory_clear(self.memory, False)

    def close(self) -> None:
        if self.handle:
            self.native.api.llama_free(self.handle)
            self.handle = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None
