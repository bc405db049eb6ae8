"""Looking for weights that are no numbers: one NaN or infinity makes a model write nonsense, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slmdesk.formats.safetensors import SafetensorsHeader

_CHUNK = 16 * 1024 * 1024  # bytes looked at together
# Element type -> how its bits are read, and those of the exponent: all of them set means NaN or infinity.
_EXPONENTS: dict[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0000000000000),
    "F32": ("<u4", 0x7F800000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}
# Buffers that converters leave out, and which rightly hold minus infinity.
_LEFT_OUT = (".masked_bias", ".attn.bias", ".attention.bias", ".rotary_emb.inv_freq")
_NAMED = 3


def check_finite(
    files: dict[Path, SafetensorsHeader], heard: Callable[[int], None], stopped: Callable[[], bool]
) -> None:
    """Read all weights once; `heard` is told bytes read, `stopped` ends it early. Blocks; 32 MB of memory.

    Raises `SlmDeskError("weights_not_finite")` with the tensors' names, or `file_unreadable`.
    """
    bad: list[str] = []
    read = 0
    for path, header in files.items():
        try:
            with path.open("rb", buffering=0) as file:
                for tensor in header.tensors:
                    if stopped():
                        return
                    if tensor.type in _EXPONENTS and not tensor.name.endswith(_LEFT_OUT):
                        file.seek(header.data_offset + tensor.start)
                        if not _finite(file, tensor.end - tensor.start, *_EXPONENTS[tensor.type], stopped):
                            bad.append(f"{tensor.name} {list(tensor.shape)}")
                    read += tensor.end - tensor.start
                    heard(read)
        except OSError as error:
            raise SlmDeskError(
                "file_unreadable",
                f"{path.name} cannot be read: {error.strerror or error}.",
                "Check the disk it lies on, then download it again.",
            ) from error
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise SlmDeskError(
            "weights_not_finite",
            f"The model holds weights that are no numbers (NaN or infinite), in {', '.join(bad[:_NAMED])}{more}.",
            "Download it again; if its hash is right, the publisher's file is broken.",
            details="\n".join(bad[:200]),
        )


def _finite(file: Any, count: int, kind: str, exponent: int, stopped: Callable[[], bool]) -> bool:
    """Whether the next `count` bytes of the file hold finite numbers only."""
    import numpy as np

    mask = np.array(exponent, dtype=kind)
    for start in range(0, count, _CHUNK):
        if stopped():
            return True
        wanted = min(_CHUNK, count - start)
        data = bytearray()
        while len(data) < wanted and (more := file.read(wanted - len(data))):
            data += more
        if len(data) < wanted:
            raise OSError("the file became shorter")
        if bool(((np.frombuffer(data, dtype=kind) & mask) == mask).any()):
            return False
    return True
