"""llama.cpp's library as an engine uses it.

Everything here runs in the engine process only. Handles are plain integers (addresses). Calls that take long
(load, decode) release the interpreter lock; calls that take microseconds go through `PyDLL` bindings that keep it,
because giving it up and asking for it again costs more than the call.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from slmdesk.core import llama_library
from slmdesk.inference.devices import best
from slmdesk.llama import gpus
from slmdesk.llama.binding import Binding
from slmdesk.llama.buffers import Buffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from slmdesk.core.llama_library import GpuParts
    from slmdesk.inference.devices import Device
    from slmdesk.inference.steps import Step


def list_devices(added: Path | None) -> tuple[list[Device], list[str]]:
    """Every device ggml finds with all parts loaded, and a line for each part that could not be."""
    native = Native(gpu=True)
    found = llama_library.find(added)
    notes = native.open_gpus(found.parts)
    return [device for _, device in native.devices], notes


class Native(Binding):
    """The library as an engine uses it: llama.cpp's warnings and errors go to stderr."""

    def __init__(self, step: Step = "all", *, gpu: bool = False) -> None:
        self.said: deque[str] = deque(maxlen=50)  # llama.cpp's latest warnings and errors
        self.buffers = Buffers()
        self.devices: list[tuple[int, Device]] = []  # address and device, once `open_gpus` was called
        super().__init__(step, gpu=gpu)
        # Both names resolve to the library that is loaded already.
        self._quick = ctypes.PyDLL(self.api._lib._name)  # noqa: SLF001
        self.sampler_apply = self._bind_quick("llama_sampler_apply", [ctypes.c_void_p, ctypes.c_void_p], None)
        self.sampler_accept = self._bind_quick(
            "llama_sampler_accept", [ctypes.c_void_p, ctypes.c_int32], None
        )
        self.get_logits = self._bind_quick("llama_get_logits", [ctypes.c_void_p], ctypes.c_void_p)
        self._attr = self._bind_quick("llama_vocab_get_attr", [ctypes.c_void_p, ctypes.c_int32], ctypes.c_int)

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
        ggml, base = self.beside("ggml"), self.beside("ggml-base")
        problems = gpus.load(ggml, parts)
        self.devices = gpus.devices(ggml, base)
        return problems

    def hear(self, text: bytes, *, warning: bool) -> None:
        self.buffers.hear(text)
        if warning and text:
            self.said.append(text.decode(errors="replace").rstrip("\n"))
            os.write(2, text)

    def token_attributes(self, vocabulary: int, token: int) -> int:
        return int(self._attr(vocabulary, token))

    def system_info(self) -> str:
        """What the library was built with, such as "CPU : AVX2 = 1 | OPENMP = 1"."""
        return str(self.api.llama_print_system_info().decode(errors="replace"))
