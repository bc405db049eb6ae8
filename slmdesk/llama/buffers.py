"""What llama.cpp allocated and where, read off its log: the one place that tells."""

from __future__ import annotations

import re

_LINE = re.compile(rb"(\S+)\s+(model|KV|RS|compute|output|\S+ state) buffer size =\s*([\d.]+) MiB")
_MIB = 1024 * 1024


class Buffers:
    """Bytes by device and purpose ("model", "KV", "RS", "compute", "output"); the latest of each compute buffer."""

    def __init__(self) -> None:
        self.sizes: dict[tuple[str, str], int] = {}

    def hear(self, text: bytes) -> None:
        """Take one line of llama.cpp's log."""
        found = _LINE.search(text)
        if found is None:
            return
        place, purpose, size = found[1].decode(), found[2].decode(), int(float(found[3]) * _MIB)
        added = purpose not in {"compute", "output"}  # models and caches may have several buffers on a device
        self.sizes[place, purpose] = size + (self.sizes.get((place, purpose), 0) if added else 0)

    def on(self, device: str) -> int:
        """All bytes on a device, such as "Vulkan0"; what is kept for it in the machine's memory not counted."""
        return sum(size for (place, _), size in self.sizes.items() if place == device)
