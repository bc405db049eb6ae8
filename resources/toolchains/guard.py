"""Runs one script of a toolchain: `python guard.py SCRIPT [arguments…]`, with that toolchain's Python.

The script ends with the program that started it, reaches no other machine, and runs no code that lies in a model's
folder. Only the standard library: a toolchain does not hold the application.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

LOCAL = ("127.", "::1", "localhost")
REFUSED = "code from the model's folder is not run"
# Where transformers decides whether to load a model's own code.
DECIDING = (
    "transformers.models.auto.auto_factory",
    "transformers.models.auto.configuration_auto",
    "transformers.models.auto.tokenization_auto",
)


def main() -> None:
    end_with_parent()
    sys.addaudithook(refuse_network)
    script = sys.argv[1]
    refuse_model_code()
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(script))  # noqa: PTH100, PTH120
    runpy.run_path(script, run_name="__main__")


def end_with_parent() -> None:
    """The parent keeps stdin open as a life line; Linux is asked to see to it as well."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG of <linux/prctl.h>

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 65536):
                pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: names are not looked up, and only this machine is connected to."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in {"socket.connect", "socket.sendto"} and isinstance(arguments[-1], tuple):
        host = arguments[-1][0]
    else:
        return
    if host is not None and not str(host).startswith(LOCAL):
        raise PermissionError(f"a toolchain reaches no other machine (asked for {host})")


def refuse_model_code() -> None:
    """transformers loads its own classes only, also where its caller trusts the model's."""
    try:
        dynamic = import_module("transformers.dynamic_module_utils")
        deciding = [import_module(name) for name in DECIDING]
    except ImportError:
        return  # this toolchain has no transformers, or its script will tell what is missing

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise PermissionError(REFUSED)

    def never(*_: Any, **__: Any) -> bool:
        return False

    for module in [dynamic, *deciding]:
        for name, stand_in in (
            ("resolve_trust_remote_code", never),
            ("get_class_from_dynamic_module", refuse),
        ):
            if hasattr(module, name):
                setattr(module, name, stand_in)


if __name__ == "__main__":
    main()
