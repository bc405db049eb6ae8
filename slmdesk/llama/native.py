"""llama.cpp's library in this process: bound once, its log heard, its devices asked.

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

from slmdesk.core import llama_library
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.installation import set_up_again
from slmdesk.inference.devices import best
from slmdesk.llama import gpus
from slmdesk.llama.buffers import Buffers
from slmdesk.llama.processor_parts import library, load_variants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slmdesk.core.llama_library import GpuParts
    from slmdesk.inference.devices import Device
    from slmdesk.inference.steps import Step

_WARNING, _CONTINUE = 3, 5  # enum ggml_log_level


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
    found = llama_library.find(added)
    notes = native.open_gpus(found.parts)
    return [device for _, device in native.devices], notes


class Native:
    """The loaded library, with llama.cpp's log sent to stderr (warnings and errors only).

    Without `gpu` no driver is ever touched, also where the library was built with one.
    """

    def __init__(self, step: Step = "all", *, gpu: bool = False) -> None:
        if not gpu:
            gpus.hide()
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
        problems = gpus.load(ggml, parts)
        self.devices = gpus.devices(ggml, base)
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
