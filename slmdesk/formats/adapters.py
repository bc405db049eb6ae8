"""Adapters (LoRA) as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def adapters_bytes(paths: Sequence[str | Path]) -> int:
    """What these files take of memory beside the model, in bytes; one that is not there takes nothing."""
    total = 0
    for path in paths:
        try:
            total += Path(path).stat().st_size
        except OSError:
            continue
    return total
