"""llama.cpp's library in this process: bound, told where its log goes, its processor's part loaded. Once a process."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.installation import set_up_again
from slmdesk.llama import gpus
from slmdesk.llama.processor_parts import library, load_variants

if TYPE_CHECKING:
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


class Binding:
    """The loaded library. A subclass says in `hear` what becomes of its log.

    Without `gpu` no driver is ever touched, also where the library was built with one.
    """

    def __init__(self, step: Step = "all", *, gpu: bool = False) -> None:
        if not gpu:
            gpus.hide()
        self.api = bind()
        self.step = step
        self._level = 0
        self._callback = self.api.llama_log_callback(self._log)
        self.api.llama_log_set(self._callback, ctypes.c_void_p(0))
        load_variants(self.api, step)
        self.api.llama_backend_init()

    def hear(self, text: bytes, *, warning: bool) -> None:
        """A piece of what the library logs, not always a whole line; `warning`: or an error."""

    def beside(self, name: str) -> ctypes.CDLL:
        """One of ggml's libraries, by its name without prefix and ending. Raises `OSError` where it is not there."""
        return library(Path(self.api._lib._name).parent, name)  # noqa: SLF001

    def _log(self, level: int, text: bytes, _data: object) -> None:
        if level != _CONTINUE:  # which goes on with the level of the text before
            self._level = level
        self.hear(text, warning=self._level >= _WARNING)
