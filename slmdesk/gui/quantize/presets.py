"""Presets for quantizing in files: saved and opened by a person."""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.gui.quantize.quantize_page import QuantizePage
    from slmdesk.quantize.request import Request

KINDS = "Presets (*.json)"
_KEPT = ("targets", "imatrix", "measure", "pattern", "options")


async def ask(page: QuantizePage, what: str) -> None:
    """Ask for the file and "save" or "open" a preset. Raises as `request.save_preset` and `read`."""
    from slmdesk.gui import dialogs
    from slmdesk.quantize.request import save_preset

    services, controller = page.services, page.controller
    if controller is None:
        return
    if what == "save":
        path = await dialogs.save_file(
            services.window(), "Save as preset", name="quantize-preset.json", kinds=KINDS
        )
        if path is not None:
            await to_thread(save_preset, path, controller.request)
            services.toast(f"Saved {path.name}. Anybody can open it here.")
        return
    path = await dialogs.open_file(services.window(), "Open a preset", kinds=KINDS)
    if path is not None:
        await page.take_preset(path)


async def read(path: Path, before: Request) -> dict[str, object]:
    """What a preset changes of a request. Raises `preset_unreadable`, …"""
    from slmdesk.quantize.request import load_preset

    found = await to_thread(load_preset, path, before.model)
    return {name: getattr(found, name) for name in _KEPT}
