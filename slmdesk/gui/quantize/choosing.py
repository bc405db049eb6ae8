"""The dialogs of the Quantize page: which model, where to, which text or matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.gui import dialogs

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

MODELS = "Models (*.gguf)"
TEXTS = "Texts (*.txt *.md)"
MATRICES = "Importance matrices (*.gguf *.dat *.imatrix)"


async def model_file(window: QWidget) -> Path | None:
    """A GGUF file to quantize; None when nothing was chosen, as below."""
    return await dialogs.open_file(window, "Open a model to quantize", kinds=MODELS)


async def model_folder(window: QWidget) -> Path | None:
    """A folder of safetensors files to quantize."""
    return await dialogs.choose_folder(window, "Open a folder with safetensors files")


async def for_option(window: QWidget, name: str) -> Path | None:
    """What an option names: the folder "output", the matrix "imatrix", or a text."""
    if name == "output":
        return await dialogs.choose_folder(window, "Where the quants go")
    kinds = MATRICES if name == "imatrix" else TEXTS
    return await dialogs.open_file(window, "Choose a file", kinds=kinds)
