"""ggml's worker threads. In the engine process only."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from slmdesk.llama.processor_parts import library


class _ThreadPoolParameters(ctypes.Structure):
    """struct ggml_threadpool_params"""

    _fields_ = [
        ("cpumask", ctypes.c_bool * 512),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    ]


class ThreadPool:
    """Worker threads that stay between steps.

    Builds with OpenMP keep their own. The others would start and end threads for every token.
    """

    def __init__(self, api: Any, threads: int) -> None:
        folder = Path(api._lib._name).parent  # noqa: SLF001
        base, processor = (library(folder, name) for name in ("ggml-base", "ggml-cpu"))
        base.ggml_threadpool_params_default.restype = _ThreadPoolParameters
        base.ggml_threadpool_params_default.argtypes = [ctypes.c_int]
        processor.ggml_threadpool_new.restype = ctypes.c_void_p
        processor.ggml_threadpool_new.argtypes = [ctypes.POINTER(_ThreadPoolParameters)]
        parameters = base.ggml_threadpool_params_default(threads)
        self.handle = processor.ggml_threadpool_new(ctypes.byref(parameters))
        self._free = processor.ggml_threadpool_free
        self._free.argtypes = [ctypes.c_void_p]
        self._free.restype = None

    def attach(self, api: Any, context: int) -> None:
        function = api._lib.llama_attach_threadpool  # noqa: SLF001
        function.argtypes = [ctypes.c_void_p] * 3
        function.restype = None
        function(context, self.handle, self.handle)

    def close(self) -> None:
        if self.handle:
            self._free(self.handle)
            self.handle = None
