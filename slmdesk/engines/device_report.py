"""The GPUs of this machine in words: what models can use, what keeps them from it, and what would change that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slmdesk.core import amounts
from slmdesk.core.installation import gpu_support

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.gpus import Gpu
    from slmdesk.engines.devices import Devices
    from slmdesk.inference.devices import Device

Tone = Literal["ok", "note", "warning"]


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """One finding: its name, what is so, and what to do."""

    name: str
    tone: Tone
    text: str
    hint: str = ""


def report(listing: Devices, present: Sequence[Gpu], *, gpu_layers: int = -1) -> list[DeviceLine]:
    """Lines for `doctor` and the settings. `present`: the GPUs the system tells of."""
    lines = [_device(device, listing.best, gpu_layers) for device in listing.found if device.kind != "cpu"]
    if listing.problem is not None:
        problem = listing.problem
        lines.append(DeviceLine("GPU", "warning", problem.message, problem.hint))
    elif not any(line.name != "accelerator" for line in lines):
        lines.append(_unused(listing, present))
    lines += [DeviceLine("GPU part", "note", note) for note in listing.notes]
    return lines


def _device(device: Device, best: Device | None, gpu_layers: int) -> DeviceLine:
    if device.kind not in {"gpu", "igpu"}:
        return DeviceLine("accelerator", "note", f"{device.description} ({device.backend})")
    shared = ", shared with the processor" if device.shares_memory else ""
    memory = f"{amounts.size(device.total_bytes)}{shared}, {amounts.size(device.free_bytes)} free"
    text = f"{device.description} ({device.backend}), {memory}"
    if device is not best:
        return DeviceLine(device.name, "note", f"{text}; another one takes the layers")
    if gpu_layers == 0:
        return DeviceLine(
            device.name,
            "note",
            f"{text}; not used",
            "The setting engine.gpu_layers is 0; -1 gives it as many layers as fit.",
        )
    return DeviceLine(device.name, "ok", text)


def _unused(listing: Devices, present: Sequence[Gpu]) -> DeviceLine:
    names = ", ".join(gpu.name for gpu in present)
    if not names:
        return DeviceLine("GPU", "note", "none found; models run on the processor")
    if not listing.parts:
        return DeviceLine(
            "GPU",
            "note",
            f"built without GPU support; this machine has {names}",
            gpu_support(),
        )
    return DeviceLine(
        "GPU",
        "note",
        f"this machine has {names}, but no driver for {' or '.join(listing.parts)} that computes",
        "Install the Vulkan driver of its maker (on Debian and Ubuntu: mesa-vulkan-drivers or nvidia-driver).",
    )
