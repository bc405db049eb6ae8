"""llama.cpp's library as the quantizer's child process uses it. Never loaded anywhere else."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from slmdesk.inference.steps import STEPS
from slmdesk.llama.binding import Binding
from slmdesk.quantize.protocol import STEP_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.inference.steps import Step


class QuantizerLibrary(Binding):
    """The library as the quantizer uses it. What it logs is cut into lines for `on_line` and copied to stderr;
    `on_text` hears a line as far as it is written, for those that take long to end."""

    def __init__(self) -> None:
        self.on_text: Callable[[str], None] | None = None
        self.on_line: Callable[[str], None] | None = None
        self._line = ""
        super().__init__(told_step())
        self.base = self.beside("ggml-base")
        self._declare()

    def _declare(self) -> None:
        base = self.base
        base.gguf_init_from_file.restype = ctypes.c_void_p
        base.gguf_init_from_file.argtypes = [ctypes.c_char_p, GgufInit]
        base.gguf_get_meta_size.restype = ctypes.c_size_t
        base.gguf_get_meta_size.argtypes = [ctypes.c_void_p]
        base.gguf_set_val_u32.restype = None
        base.gguf_set_val_u32.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
        base.gguf_set_val_str.restype = None
        base.gguf_set_val_str.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
        base.gguf_remove_key.restype = ctypes.c_int64
        base.gguf_remove_key.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        base.gguf_free.restype = None
        base.gguf_free.argtypes = [ctypes.c_void_p]
        base.ggml_quantize_chunk.restype = ctypes.c_size_t
        base.ggml_quantize_chunk.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
        base.ggml_quantize_init.restype = None
        base.ggml_quantize_init.argtypes = [ctypes.c_int]
        base.ggml_op_name.restype = ctypes.c_char_p
        base.ggml_op_name.argtypes = [ctypes.c_int]
        base.ggml_nbytes.restype = ctypes.c_size_t
        base.ggml_nbytes.argtypes = [ctypes.c_void_p]
        base.ggml_backend_buffer_is_host.restype = ctypes.c_bool
        base.ggml_backend_buffer_is_host.argtypes = [ctypes.c_void_p]
        base.ggml_backend_tensor_get.restype = None
        base.ggml_backend_tensor_get.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_size_t,
        ]

    def hear(self, text: bytes, *, warning: bool) -> None:  # noqa: ARG002 - all of it is listened to
        os.write(2, text)
        self._line += text.decode(errors="replace")
        while "\n" in self._line:
            line, self._line = self._line.split("\n", 1)
            if self.on_line is not None:
                self.on_line(line)
        if self._line and self.on_text is not None:
            self.on_text(self._line)


def told_step() -> Step:
    """The safe step this child was started at."""
    told = os.environ.get(STEP_VARIABLE, "")
    return next((step for step in STEPS if step == told), "all")


class GgufInit(ctypes.Structure):
    """struct gguf_init_params"""

    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]
