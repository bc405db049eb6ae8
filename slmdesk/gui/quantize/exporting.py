"""The results in a file of a person's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.gui.quantize.quantize_page import QuantizePage

KINDS = {
    "csv": "Table (*.csv)",
    "md": "Markdown (*.md)",
    "json": "JSON (*.json)",
    "png": "Picture (*.png)",
}


async def export(page: QuantizePage, form: str) -> None:
    """Ask where, and write the results as one of `KINDS`. Raises `file_unwritable`, `disk_full`."""
    from asyncio import to_thread

    from slmdesk.core.files import atomic_write
    from slmdesk.gui import dialogs

    services, subject = page.services, page.controller.subject
    if subject is None:
        return
    name = f"{subject.title}-quants.{form}"
    path = await dialogs.save_file(services.window(), "Export results", name=name, kinds=KINDS[form])
    if path is not None:
        await to_thread(atomic_write, path, page.exported(form))
        services.toast(f"Written: {path.name}")
