"""What amx.py runs in a process of its own, where a fault ends nothing else. Prints one line of JSON.

    amx_child.py matrices BASE CPU                 products of small matrices in AMX's buffers and in plain ones
    amx_child.py answer LIBRARIES CPU MODEL TEXT   a greedy answer with AMX's buffers and one without them

BASE, CPU: the libraries ggml-base and ggml-cpu (of a build with variants: the one to try, whatever this processor is).
LIBRARIES: the folder of libllama and ggml. The emulator (amx_emulator.c) is in front of all of them where it is used.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import random
import sys
import types
from pathlib import Path
from typing import Any

# enum ggml_type of every kind of weights that has kernels for AMX (qtype_has_amx_kernels in ggml-cpu/amx/common.h).
KINDS = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "IQ4_XS": 23}
F32 = 0
ROWS, COLUMNS = 64, 512  # of the weights; 512 are two blocks of the K-quants
TOKENS = (1, 20, 64)  # one: the path without tiles; 20: a tile that is not full; 64: full ones
CLOSE = (
    2e-3  # of the largest value: both sides round the activations in the same way and add in another order
)
SPOKEN = 24  # tokens of an answer


class Parameters(ctypes.Structure):
    """struct ggml_init_params"""

    _fields_ = [
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    ]


def emulated() -> dict[str, int]:
    """What the emulator has done so far; zeros where a processor with AMX did it itself, or nothing was done."""
    loaded = ctypes.CDLL(None)
    try:
        return {
            "configured": int(loaded.amx_configured()),
            "carried_out": int(loaded.amx_carried_out()),
        }
    except AttributeError:
        return {"configured": 0, "carried_out": 0}


def pointer(library: ctypes.CDLL, name: str, *arguments: Any) -> int:
    """Call a function that returns a pointer; whole numbers among the arguments are 64 bits wide."""
    function = library[name]
    function.restype = ctypes.c_void_p
    wide = [ctypes.c_int64(one) if type(one) is int else one for one in arguments]
    return int(function(*wide) or 0)


def registration(cpu: ctypes.CDLL) -> int:
    """The backend inside a library: a variant has one entry, the library of a build for one processor another."""
    name = "ggml_backend_init" if hasattr(cpu, "ggml_backend_init") else "ggml_backend_cpu_reg"
    return pointer(cpu, name)


class Matrices:
    """Products on the CPU backend, with the weights in a buffer of one's choice."""

    def __init__(self, base: ctypes.CDLL, cpu: ctypes.CDLL) -> None:
        self._base = base
        register = registration(cpu)
        self._device = pointer(base, "ggml_backend_reg_dev_get", register, 0)
        self._backend = pointer(base, "ggml_backend_dev_init", self._device, None)
        self.plain = pointer(base, "ggml_backend_dev_buffer_type", self._device)
        address = pointer(
            base, "ggml_backend_reg_get_proc_address", register, b"ggml_backend_dev_get_extra_bufts"
        )
        extra = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(address)(self._device)
        self.amx = 0
        index = 0
        while extra and extra[index]:
            name = base.ggml_backend_buft_name
            name.restype = ctypes.c_char_p
            if name(ctypes.c_void_p(extra[index])) == b"AMX":
                self.amx = int(extra[index] or 0)
            index += 1

    def product(self, kind: int, weights: bytes, tokens: int, given: Any, buffers: int) -> list[float]:
        """`tokens` rows of ROWS numbers: the weights (ROWS × COLUMNS, of type `kind`) times `given`."""
        base = self._base
        base.ggml_init.restype = ctypes.c_void_p
        inner, outer = (ctypes.c_void_p(base.ggml_init(Parameters(1 << 20, None, True))) for _ in range(2))
        matrix = pointer(base, "ggml_new_tensor_2d", inner, ctypes.c_int(kind), COLUMNS, ROWS)
        held = pointer(base, "ggml_backend_alloc_ctx_tensors_from_buft", inner, buffers)
        pointer(base, "ggml_backend_tensor_set", matrix, weights, 0, len(weights))
        vector = pointer(base, "ggml_new_tensor_2d", outer, ctypes.c_int(F32), COLUMNS, tokens)
        result = pointer(base, "ggml_mul_mat", outer, matrix, vector)
        graph = pointer(base, "ggml_new_graph", outer)
        pointer(base, "ggml_build_forward_expand", graph, result)
        others = pointer(base, "ggml_backend_alloc_ctx_tensors_from_buft", outer, self.plain)
        pointer(base, "ggml_backend_tensor_set", vector, given, 0, ctypes.sizeof(given))
        compute = base.ggml_backend_graph_compute
        compute.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        if compute(self._backend, graph) != 0:
            raise SystemExit("the graph could not be computed")
        numbers = (ctypes.c_float * (ROWS * tokens))()
        pointer(base, "ggml_backend_tensor_get", result, numbers, 0, ctypes.sizeof(numbers))
        for buffer in (held, others):
            pointer(base, "ggml_backend_buffer_free", buffer)
        for context in (inner, outer):
            pointer(base, "ggml_free", context)
        return list(numbers)


def matrices(base_path: str, cpu_path: str) -> dict[str, Any]:
    """The largest difference between both ways for every kind of weights, as a part of the largest value."""
    base = ctypes.CDLL(base_path, mode=ctypes.RTLD_GLOBAL)
    work = Matrices(base, ctypes.CDLL(cpu_path))
    if not work.amx:
        return {"amx": False, "kinds": {}, **emulated()}
    numbers = random.Random(1)
    drawn = (ctypes.c_float * (ROWS * COLUMNS))(*(numbers.gauss(0, 1) for _ in range(ROWS * COLUMNS)))
    given = {
        tokens: (ctypes.c_float * (tokens * COLUMNS))(*(numbers.gauss(0, 1) for _ in range(tokens * COLUMNS)))
        for tokens in TOKENS
    }
    row_size, quantize = base.ggml_row_size, base.ggml_quantize_chunk
    row_size.argtypes, row_size.restype = [ctypes.c_int, ctypes.c_int64], ctypes.c_size_t
    quantize.restype = ctypes.c_size_t
    kinds: dict[str, float] = {}
    for name, kind in KINDS.items():
        weights = ctypes.create_string_buffer(ROWS * row_size(kind, COLUMNS))
        wide = [ctypes.c_int64(value) for value in (0, ROWS, COLUMNS)]
        quantize(ctypes.c_int(kind), drawn, weights, *wide, None)
        for tokens in TOKENS:
            both = [
                work.product(kind, weights.raw, tokens, given[tokens], one) for one in (work.amx, work.plain)
            ]
            largest = max(abs(value) for value in both[1])
            apart = max(abs(one - other) for one, other in zip(*both, strict=True)) / largest
            kinds[name] = max(kinds.get(name, 0.0), apart)
    wrong = sorted(name for name, apart in kinds.items() if not apart < CLOSE)
    return {"amx": True, "kinds": kinds, "wrong": wrong, **emulated()}


class Speaker:
    """A model of the library under test, through llama-cpp-python's low-level API (its package is not imported)."""

    def __init__(self, libraries: str, cpu_path: str) -> None:
        os.environ["LLAMA_CPP_LIB_PATH"] = libraries
        spec = importlib.util.find_spec("llama_cpp")
        assert spec is not None
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules["llama_cpp"] = package
        import llama_cpp.llama_cpp as api

        self.api: Any = api
        cpu = ctypes.CDLL(cpu_path)
        if hasattr(cpu, "ggml_backend_init"):  # a variant: nothing has loaded it
            ggml = ctypes.CDLL(str(Path(libraries) / "libggml.so"))
            pointer(ggml, "ggml_backend_register", registration(cpu))
        api.llama_backend_init()

    def answer(self, model_path: str, text: str, *, extra: bool) -> str:
        """SPOKEN tokens, always the likeliest; `extra`: with the CPU's extra buffers, AMX's among them."""
        api = self.api
        wanted = api.llama_model_default_params()
        wanted.use_extra_bufts, wanted.use_mmap = extra, False
        model = api.llama_model_load_from_file(model_path.encode(), wanted)
        setup = api.llama_context_default_params()
        setup.n_ctx, setup.n_batch, setup.n_threads, setup.n_threads_batch = 512, 512, 1, 1
        context = api.llama_init_from_model(model, setup)
        vocabulary = api.llama_model_get_vocab(model)
        said = text.encode()
        room = (api.llama_token * 512)()
        count = api.llama_tokenize(vocabulary, said, len(said), room, len(room), True, True)
        sampler = api.llama_sampler_init_greedy()
        batch = api.llama_batch_get_one(room, count)
        spoken = b""
        piece = ctypes.create_string_buffer(256)
        for _ in range(SPOKEN):
            if api.llama_decode(context, batch) != 0:
                raise SystemExit("the model could not be evaluated")
            token = api.llama_sampler_sample(sampler, context, -1)
            if api.llama_vocab_is_eog(vocabulary, token):
                break
            length = api.llama_token_to_piece(vocabulary, token, piece, len(piece), 0, False)
            spoken += piece.raw[:length]
            room[0] = token
            batch = api.llama_batch_get_one(room, 1)
        api.llama_free(context)
        api.llama_model_free(model)
        return spoken.decode(errors="replace")


def answer(libraries: str, cpu_path: str, model: str, text: str) -> dict[str, Any]:
    """Both answers, and what the emulator did for the first."""
    speaker = Speaker(libraries, cpu_path)
    with_amx = speaker.answer(model, text, extra=True)
    done = emulated()
    return {"with_amx": with_amx, "without": speaker.answer(model, text, extra=False), **done}


def main() -> None:
    what, *words = sys.argv[1:]
    print(json.dumps(matrices(*words) if what == "matrices" else answer(*words)))


if __name__ == "__main__":
    main()
