"""The built-in texts: one to compute importance matrices with, others to measure with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.core.paths import Paths
    from slmdesk.formats.gguf import GgufHeader

_GUIDE = "Desk Guide"  # general.name of the built-in model
_LEAST_BYTES = 1024


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file. `name` is what results and files say; `special`: it spells control tokens of a chat."""

    path: Path
    name: str
    special: bool = False

    def digest(self) -> str:
        """The first 16 hexadecimal digits of its SHA-256. Raises `SlmDeskError("text_unreadable")`."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise SlmDeskError(
                "text_unreadable",
                f"{self.path} cannot be read: {error.strerror or error}.",
                "Check the path.",
            ) from error


def measuring_text(paths: Paths, header: GgufHeader, chosen: str = "") -> TextFile:
    """The text to measure with. The built-in model knows nothing but questions about small models, so it is
    measured with such questions; every other model with a text of many subjects and languages."""
    if chosen:
        return own_text(chosen)
    folder = paths.resources / "quantize"
    if header.name == _GUIDE:
        return TextFile(folder / "guide-measure.txt", "slmdesk guide answers 1", special=True)
    return TextFile(folder / "measure.txt", "slmdesk measuring text 1")


def calibration_text(paths: Paths, header: GgufHeader, chosen: str = "") -> TextFile:
    """The text to compute an importance matrix with; never the one that is measured with."""
    if chosen:
        return own_text(chosen)
    folder = paths.resources / "quantize"
    if header.name == _GUIDE:
        return TextFile(folder / "guide-calibration.txt", "slmdesk guide calibration 1", special=True)
    return TextFile(folder / "calibration.txt", "slmdesk calibration text 1")


def own_text(chosen: str) -> TextFile:
    """A text of a person's own. Raises `text_unreadable`, and `text_too_short` where no model would find tokens enough
    in it."""
    path = Path(chosen).expanduser().absolute()
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SlmDeskError(
            "text_unreadable", f"{path} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    if size < _LEAST_BYTES:
        raise SlmDeskError("text_too_short", f"{path.name} holds only {size} bytes.", "Choose a longer text.")
    return TextFile(path, path.name)
