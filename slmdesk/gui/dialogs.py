"""The system's file dialogs as awaitables. Nothing here blocks: `exec` would stop every other task for good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QFileDialog

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget


async def open_file(
    parent: QWidget, title: str, *, folder: Path | None = None, kinds: str = ""
) -> Path | None:
    """Ask for a file that exists; None when the person cancels. `kinds` is like "Models (*.gguf)"."""
    dialog = _dialog(parent, title, folder, kinds)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    return await _answer(dialog)


async def save_file(
    parent: QWidget, title: str, *, name: str = "", folder: Path | None = None, kinds: str = ""
) -> Path | None:
    """Ask where to write; the dialog itself asks before a file is replaced. None when cancelled."""
    dialog = _dialog(parent, title, folder, kinds)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setFileMode(QFileDialog.FileMode.AnyFile)
    if name:
        dialog.selectFile(name)
        suffix = Path(name).suffix.removeprefix(".")
        if suffix:
            dialog.setDefaultSuffix(suffix)
    return await _answer(dialog)


async def choose_folder(parent: QWidget, title: str, *, folder: Path | None = None) -> Path | None:
    """Ask for a folder that exists; None when the person cancels."""
    dialog = _dialog(parent, title, folder, "")
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly, on=True)
    return await _answer(dialog)


async def finished(dialog: QDialog) -> bool:
    """Open `dialog` and wait; True when it was accepted. A cancelled wait closes the dialog."""
    import asyncio

    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def answer(code: int) -> None:
        if not answered.done():
            answered.set_result(code)

    dialog.finished.connect(answer)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, on=False)
    dialog.open()
    try:
        return await answered == QDialog.DialogCode.Accepted.value
    finally:
        dialog.close()
        dialog.deleteLater()


def _dialog(parent: QWidget, title: str, folder: Path | None, kinds: str) -> QFileDialog:
    dialog = QFileDialog(parent, title, str(folder or Path.home()))
    if kinds:
        dialog.setNameFilters([kinds, "All files (*)"])
    return dialog


async def _answer(dialog: QFileDialog) -> Path | None:
    if not await finished(dialog):
        return None
    chosen = dialog.selectedFiles()
    return Path(chosen[0]) if chosen else None
