"""Writing a conversation to a file."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from slmdesk.core.files import atomic_write
from slmdesk.gui.dialogs import save_file

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

    from slmdesk.chat.export import ExportFormat

KINDS = {
    "markdown": (".md", "Markdown (*.md)"),
    "html": (".html", "Web pages (*.html)"),
    "json": (".json", "JSON (*.json)"),
    "openai": (".jsonl", "JSON lines (*.jsonl)"),
    "sharegpt": (".jsonl", "JSON lines (*.jsonl)"),
}
FORMS: dict[ExportFormat, str] = {
    "markdown": "Markdown",
    "html": "Web page",
    "json": "JSON, with all branches",
    "openai": "OpenAI's JSON lines",
    "sharegpt": "ShareGPT's JSON lines",
}
"""What each form is called in a menu."""
IMPORTED = "Conversations (*.json *.jsonl *.zip)"
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')
LONGEST_NAME = 60


def file_name(title: str, suffix: str) -> str:
    """A file name that every system takes, made from a title."""
    plain = " ".join(_FORBIDDEN.sub(" ", title).split())[:LONGEST_NAME].strip(" .…")
    return (plain or "Conversation") + suffix


async def export_to_file(parent: QWidget, title: str, text: str, form: str) -> Path | None:
    """Ask where to write `text` and write it whole. None when the person cancels; raises `file_unwritable`."""
    suffix, kinds = KINDS[form]
    path = await save_file(parent, "Export the conversation", name=file_name(title, suffix), kinds=kinds)
    if path is not None:
        await asyncio.to_thread(atomic_write, path, text)
    return path
