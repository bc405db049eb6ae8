"""What the system opens for the program: folders, files and pages of the web."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

if TYPE_CHECKING:
    from pathlib import Path


def open_path(path: Path | str) -> None:
    """Show a folder, or open a file with its program."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


def open_url(url: str) -> None:
    """Open a page in the browser."""
    QDesktopServices.openUrl(QUrl(url))
