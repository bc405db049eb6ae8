"""What a model can be computed on besides the processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.inference.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMPUTES = ("gpu", "igpu")


class Device(Wire, frozen=True):
    """One device of ggml's. Bytes. `kind`: cpu, gpu, igpu (shares the machine's memory), accel or meta."""

    name: str  # ggml's, such as "Vulkan0"
    description: str  # the maker's
    kind: str
    backend: str
    total_bytes: int
    free_bytes: int
    identity: str = ""  # the same for one card that two backends see

    @property
    def shares_memory(self) -> bool:
        """Whether its memory is the machine's own."""
        return self.kind == "igpu" or self.backend.lower() in {"metal", "mtl"}


def best(devices: Sequence[Device]) -> Device | None:
    """A GPU with memory of its own before one without, then the one with the most free memory; None: no GPU."""
    able = [device for device in devices if device.kind in _COMPUTES]
    return max(able, key=lambda device: (device.kind == "gpu", device.free_bytes), default=None)
