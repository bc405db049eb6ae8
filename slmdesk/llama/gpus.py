"""ggml's parts for GPUs in this process: kept away, or loaded, and the devices they find.

Loading one runs a driver, which may crash or hang.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from slmdesk.core.llama_library import BACKENDS, backend_of
from slmdesk.inference.devices import Device

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Built into the library itself, or lying where ggml loads its processor's part from, a part cannot be left out. Told
# this it starts no driver: Vulkan's loader reads no other description than the one named.
_HIDDEN = {
    "VK_DRIVER_FILES": os.devnull,
    "VK_ICD_FILENAMES": os.devnull,
    "GGML_DISABLE_VULKAN": "1",
    "GGML_VK_VISIBLE_DEVICES": "",
    "CUDA_VISIBLE_DEVICES": "-1",
    "HIP_VISIBLE_DEVICES": "-1",
    "GGML_METAL_DEVICES": "0",
}
_TYPES = ("cpu", "gpu", "igpu", "accel", "meta")  # enum ggml_backend_dev_type


def hide() -> None:
    """Keep this process from every GPU, also where llama.cpp was built with one. Call it before the library loads."""
    os.environ.update(_HIDDEN)


def load(ggml: ctypes.CDLL, parts: Iterable[Path]) -> list[str]:
    """Load parts into ggml, which then asks their drivers; a line for each that this machine cannot load.

    A driver may crash or hang here. A part whose driver's loader is not installed is no fault: it is left out.
    """
    ggml.ggml_backend_load.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_load.restype = ctypes.c_void_p
    problems = []
    for part in parts:
        if part.parent.name == "lib" and backend_of(part) in _linked(ggml):
            continue
        try:
            # Tried here first: what ggml logs about a library that is not there would look like a damaged model.
            library = ctypes.CDLL(str(part))
        except OSError as error:
            problems.append(f"the {backend_of(part)} part cannot be loaded: {error}")
            continue
        if not hasattr(library, "ggml_backend_init") or not ggml.ggml_backend_load(os.fsencode(part)):
            problems.append(f"the {backend_of(part)} part found no driver that it can use")
    return problems


def devices(ggml: ctypes.CDLL, base: ctypes.CDLL) -> list[tuple[int, Device]]:
    """Every device that ggml knows in this process, with its address."""
    _declare(ggml, base)
    found = []
    for index in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(index)
        properties = _Properties()
        base.ggml_backend_dev_get_props(device, ctypes.byref(properties))
        backend = base.ggml_backend_reg_name(base.ggml_backend_dev_backend_reg(device))
        kind = properties.type
        found.append(
            (
                int(device),
                Device(
                    name=_text(properties.name),
                    description=_text(properties.description).strip(),
                    kind=_TYPES[kind] if 0 <= kind < len(_TYPES) else "other",
                    backend=_text(backend),
                    total_bytes=int(properties.memory_total),
                    free_bytes=min(int(properties.memory_free), int(properties.memory_total)),
                    identity=_text(properties.device_id),
                ),
            )
        )
    return found


class _Abilities(ctypes.Structure):
    """struct ggml_backend_dev_caps"""

    _fields_ = [
        (name, ctypes.c_bool)
        for name in ("asynchronous", "host_buffer", "from_host_pointer", "events", "mapped")
    ]


class _Properties(ctypes.Structure):
    """struct ggml_backend_dev_props"""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("abilities", _Abilities),
        ("reserve", ctypes.c_char * 64),  # a newer ggml may know more of a device
    ]


def _declare(ggml: ctypes.CDLL, base: ctypes.CDLL) -> None:
    address = ctypes.c_void_p
    ggml.ggml_backend_dev_count.argtypes, ggml.ggml_backend_dev_count.restype = [], ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes, ggml.ggml_backend_dev_get.restype = [ctypes.c_size_t], address
    base.ggml_backend_dev_get_props.argtypes = [address, ctypes.POINTER(_Properties)]
    base.ggml_backend_dev_get_props.restype = None
    base.ggml_backend_dev_backend_reg.argtypes = [address]
    base.ggml_backend_dev_backend_reg.restype = address
    base.ggml_backend_reg_name.argtypes, base.ggml_backend_reg_name.restype = [address], ctypes.c_char_p


def _linked(ggml: ctypes.CDLL) -> set[str]:
    """Backends that are there already, because the library was built with them."""
    ggml.ggml_backend_reg_by_name.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_reg_by_name.restype = ctypes.c_void_p
    return {name for name in BACKENDS if ggml.ggml_backend_reg_by_name(name.encode())}


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace") if value else ""
