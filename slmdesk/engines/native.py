"""A thin typed layer over llama-cpp-python's low-level API: one model, one context, no policy.

Everything here runs in the engine process only. Handles are plain integers (addresses). Calls that take long
(load, decode) release the interpreter lock; calls that take microseconds go through `PyDLL` bindings that keep it,
because giving it up and asking for it again costs more than the call.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import types
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.installation import set_up_again
from slmdesk.engines import gpu_parts
from slmdesk.engines.buffers import Buffers
from slmdesk.engines.devices import best
from slmdesk.engines.processor_parts import library, load_variants
from slmdesk.engines.residence import give_back_zeros, private_memory
from slmdesk.engines.safe_steps import holds
from slmdesk.engines.thread_pool import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from slmdesk.engines.devices import Device
    from slmdesk.engines.gpu_parts import GpuParts
    from slmdesk.engines.safe_steps import Step

CACHE_TYPES = {"f16": 1, "q4_0": 2, "q8_0": 8}  # enum ggml_type
_CONTROL_OR_UNKNOWN = (1 << 3) | (1 << 0)  # enum llama_token_attr
_SENTENCE_PIECE = 1  # enum llama_vocab_type
_WARNING, _CONTINUE = 3, 5  # enum ggml_log_level

# llama_decode's results that a caller can act on.
DECODED, NO_ROOM, ABORTED = 0, 1, 2


def bind() -> Any:
    """The module `llama_cpp.llama_cpp`.

    The package's own `__init__` also imports chat formats, jinja2 and numpy: half a second that a person waits
    for at the start of a chat. A bare package object in its place lets the submodule load alone.
    """
    if "llama_cpp" not in sys.modules:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.submodule_search_locations is None:
            raise SlmDeskError(
                "engine_missing",
                "The package llama-cpp-python is not installed.",
                set_up_again(),
            )
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["llama_cpp"] = package
    try:
        import llama_cpp.llama_cpp as binding
    except (OSError, RuntimeError, ImportError) as error:
        raise SlmDeskError(
            "engine_missing",
            f"llama.cpp's library cannot be loaded: {error}.",
            set_up_again(),
        ) from error
    return binding


def list_devices(added: Path | None) -> tuple[list[Device], list[str]]:
    """Every device ggml finds with all parts loaded, and a line for each part that could not be."""
    native = Native(gpu=True)
    found = gpu_parts.find(added)
    notes = native.open_gpus(found.parts)
    return [device for _, device in native.devices], notes


class Native:
    """The loaded library, with llama.cpp's log sent to stderr (warnings and errors only).

    Without `gpu` no driver is ever touched, also where the library was built with one.
    """

    def __init__(self, step: Step = "all", *, gpu: bool = False) -> None:
        if not gpu:
            gpu_parts.hide()
        self.api = bind()
        # Both names resolve to the library that is loaded already.
        self._quick = ctypes.PyDLL(self.api._lib._name)  # noqa: SLF001
        self.sampler_apply = self._bind_quick("llama_sampler_apply", [ctypes.c_void_p, ctypes.c_void_p], None)
        self.sampler_accept = self._bind_quick(
            "llama_sampler_accept", [ctypes.c_void_p, ctypes.c_int32], None
        )
        self.get_logits = self._bind_quick("llama_get_logits", [ctypes.c_void_p], ctypes.c_void_p)
        self._attr = self._bind_quick("llama_vocab_get_attr", [ctypes.c_void_p, ctypes.c_int32], ctypes.c_int)
        self.said: deque[str] = deque(maxlen=50)  # llama.cpp's latest warnings and errors
        self.buffers = Buffers()
        self.devices: list[tuple[int, Device]] = []  # address and device, once `open_gpus` was called
        self._log_level = 0
        self._log_callback = self.api.llama_log_callback(self._log)
        self.api.llama_log_set(self._log_callback, ctypes.c_void_p(0))
        load_variants(self.api, step)
        self.api.llama_backend_init()

    def _bind_quick(self, name: str, arguments: list[Any], result: Any) -> Callable[..., Any]:
        function = self._quick[name]
        function.argtypes = arguments
        function.restype = result
        return function

    def open_best_gpu(self, found: GpuParts) -> tuple[int, Device] | None:
        """The GPU that takes layers, and its address; what is of no use is told on stderr. A driver may crash here."""
        for note in (*found.problems, *self.open_gpus(found.parts)):
            sys.stderr.write(f"gpu: {note}\n")
        chosen = best([device for _, device in self.devices])
        return next((entry for entry in self.devices if entry[1] is chosen), None)

    def open_gpus(self, parts: Iterable[Path]) -> list[str]:
        """Load parts for GPUs, then ask for devices; a line for each part of no use. A driver may crash here."""
        folder = Path(self.api._lib._name).parent  # noqa: SLF001
        ggml, base = library(folder, "ggml"), library(folder, "ggml-base")
        problems = gpu_parts.load(ggml, parts)
        self.devices = gpu_parts.devices(ggml, base)
        return problems

    def _log(self, level: int, text: bytes, _data: object) -> None:
        if level != _CONTINUE:
            self._log_level = level
        self.buffers.hear(text)
        if self._log_level >= _WARNING and text:
            self.said.append(text.decode(errors="replace").rstrip("\n"))
            os.write(2, text)

    def token_attributes(self, vocabulary: int, token: int) -> int:
        return int(self._attr(vocabulary, token))

    def system_info(self) -> str:
        """What the library was built with, such as "CPU : AVX2 = 1 | OPENMP = 1"."""
        return str(self.api.llama_print_system_info().decode(errors="replace"))


class Model:
    """A loaded GGUF: its vocabulary, and tokens to text and back.

    `gpu_layers` layers go to the device at the address `device` (llama.cpp's count: the output is one of them).
    `texts[token]` holds a token's text once `piece` was asked for it, or None where it is not known yet, is empty, is
    no complete UTF-8, or ends the answer.
    """

    def __init__(
        self,
        native: Native,
        path: str,
        *,
        gpu_layers: int = 0,
        device: int | None = None,
        step: Step = "all",
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        api = native.api
        self.native = native
        parameters = api.llama_model_default_params()
        # One device by its address, or an empty list: llama.cpp would take every GPU it knows of.
        self._devices = (ctypes.c_void_p * 2)(device if gpu_layers else None, None)
        parameters.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        parameters.n_gpu_layers = gpu_layers if device else 0
        parameters.use_extra_bufts = not holds(step, "no_extra_buffers")

        def progress(fraction: float, _data: object) -> bool:
            if on_progress is not None:
                on_progress(fraction)
            return True

        self._progress = api.llama_progress_callback(progress)
        parameters.progress_callback = self._progress
        self.handle: int | None = api.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.handle:
            raise SlmDeskError("model_damaged", "llama.cpp did not load the model.", "")
        self.vocabulary = api.llama_model_get_vocab(self.handle)
        self.tokens: int = api.llama_vocab_n_tokens(self.vocabulary)
        self.texts: list[str | None] = [None] * self.tokens
        self._pieces: dict[int, bytes | None] = {}
        self._buffer = ctypes.create_string_buffer(4096)
        self.bos: int = api.llama_vocab_bos(self.vocabulary)
        self.eos: int = api.llama_vocab_eos(self.vocabulary)
        self.add_bos: bool = api.llama_vocab_get_add_bos(self.vocabulary)
        # SentencePiece writes "Hello" as "▁Hello" at the beginning of a text, unless the file says otherwise.
        self.space_prefix: bool = (
            api.llama_vocab_type(self.vocabulary) == _SENTENCE_PIECE
            and self._metadata("tokenizer.ggml.add_space_prefix") != "false"
        )
        self.special_texts = self._special_texts()
        self.also_ends: frozenset[int] = (
            frozenset()
        )  # tokens that end an answer though the file does not say so
        self.shown: frozenset[int] = frozenset()  # control tokens that are text to whoever reads the answer

    @property
    def description(self) -> str:
        size = self.native.api.llama_model_desc(self.handle, self._buffer, len(self._buffer))
        return self._buffer.raw[: max(size, 0)].decode(errors="replace")

    def _metadata(self, key: str) -> str:
        size = self.native.api.llama_model_meta_val_str(
            self.handle, key.encode(), self._buffer, len(self._buffer)
        )
        return self._buffer.raw[: max(size, 0)].decode(errors="replace")

    @property
    def parameters(self) -> int:
        return int(self.native.api.llama_model_n_params(self.handle))

    @property
    def trained_context(self) -> int:
        return int(self.native.api.llama_model_n_ctx_train(self.handle))

    @property
    def layers(self) -> int:
        return int(self.native.api.llama_model_n_layer(self.handle))

    @property
    def keeps_every_position(self) -> bool:
        """False for recurrent and hybrid models, whose memory cannot be cut back to an earlier position."""
        api = self.native.api
        return not (api.llama_model_is_recurrent(self.handle) or api.llama_model_is_hybrid(self.handle))

    @property
    def generates_text(self) -> bool:
        api = self.native.api
        return bool(api.llama_model_has_decoder(self.handle)) and not api.llama_model_is_diffusion(
            self.handle
        )

    @property
    def encodes_first(self) -> bool:
        """Encoder-decoder models (T5), which answer in a way this engine does not speak."""
        return bool(self.native.api.llama_model_has_encoder(self.handle))

    def chat_template(self) -> str | None:
        template = self.native.api.llama_model_chat_template(self.handle, None)
        return template.decode(errors="replace") if template else None

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`. `special`: texts such as `<|im_end|>` become their control tokens.

        Nothing is put before or behind. Raises `SlmDeskError("bad_request")` for text that has no tokens here.
        """
        data = text.encode("utf-8", "replace")
        if not data:
            return []
        api = self.native.api
        room = len(data) + 16
        while True:
            tokens = (ctypes.c_int32 * room)()
            count = api.llama_tokenize(self.vocabulary, data, len(data), tokens, room, False, special)
            if count >= 0:
                return tokens[:count]
            if count == -(2**31) or -count <= room:
                raise SlmDeskError(
                    "bad_request", "The text cannot be cut into tokens.", "Send a shorter text."
                )
            room = -count

    def token_of(self, text: str) -> int:
        """The token that is exactly this text, control tokens included; -1 where there is none."""
        tokens = self.tokenize(text, special=True)
        return tokens[0] if len(tokens) == 1 and self.special_text(tokens[0]) == text else -1

    def piece(self, token: int) -> bytes | None:
        """The bytes of a token (empty for control tokens that are not `shown`), None for one that ends the answer."""
        if token in self._pieces:
            return self._pieces[token]
        api = self.native.api
        ends = token in self.also_ends or api.llama_vocab_is_eog(self.vocabulary, token)
        piece = None if ends else self._read_piece(token, special=token in self.shown)
        self._pieces[token] = piece
        if piece is not None:
            try:
                self.texts[token] = piece.decode() or None
            except UnicodeDecodeError:
                self.texts[token] = None
        return piece

    def special_text(self, token: int) -> str:
        """The text of a control token such as `<s>`; empty where there is no such token."""
        return self._read_piece(token, special=True).decode(errors="replace") if token >= 0 else ""

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        api = self.native.api
        size = api.llama_token_to_piece(self.vocabulary, token, self._buffer, len(self._buffer), 0, special)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            size = api.llama_token_to_piece(self.vocabulary, token, self._buffer, -size, 0, special)
        return self._buffer.raw[:size]

    def _special_texts(self) -> frozenset[str]:
        """Texts that the tokenizer would turn into control tokens."""
        attributes = self.native.token_attributes
        found = [
            token for token in range(self.tokens) if attributes(self.vocabulary, token) & _CONTROL_OR_UNKNOWN
        ]
        texts = (self._read_piece(token, special=True).decode(errors="replace") for token in found)
        return frozenset(text for text in texts if len(text) > 1)

    def close(self) -> None:
        if self.handle:
            self.native.api.llama_model_free(self.handle)
            self.handle = None


class Context:
    """A llama.cpp context with the batch it is fed from.

    The batch's arrays are numpy views over memory made here, so that filling a run of entries is one assignment:
    `token[i]`, `pos[i]`, `seq[i]` (sequence id) and `wanted[i]` (1: logits are needed). Only the worker thread
    touches a context.

    With `thrifty` its cache takes memory as it fills, where the system can; `unused_bytes` of it are not taken yet.
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
    ) -> None:
        import numpy as np

        native, api = model.native, model.native.api
        self.native = native
        self.model = model
        parameters = api.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = batch
        parameters.n_seq_max = sequences
        parameters.n_outputs_max = sequences  # one row of logits each; the default reserves one a batch entry
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
        self.native.api.llama_memory_clear(self.memory, False)

    def close(self) -> None:
        if self.handle:
            self.native.api.llama_free(self.handle)
            self.handle = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None
