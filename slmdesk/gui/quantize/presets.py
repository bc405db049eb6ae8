"""Presets for quantizing in files: saved and opened by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.gui.tasks import in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.gui.page import WindowServices
    from slmdesk.quantize.request import Request

KINDS = "Presets (*.json)"
_KEPT = ("targets", "imatrix", "measure", "pattern", "options")


async def save(services: WindowServices, request: Request) -> None:
    """Ask for a file and save what is asked for as a preset. Raises as `request.save_preset`."""
    from slmdesk.gui import dialogs
    from slmdesk.quantize.request import save_preset

    path = await dialogs.save_file(
        services.window(), "Save as preset", name="quantize-preset.json", kinds=KINDS
    )
    if path is not None:
        await in_thread(save_preset, path, request)
        services.toast(f"Saved {path.name}. Anybody can open it here.")


async def choose(services: WindowServices) -> Path | None:
    """Ask for a preset to open."""
    from slmdesk.gui import dialogs

    return await dialogs.open_file(services.window(), "Open a preset", kinds=KINDS)


async def read(path: Path, before: Request) -> dict[str, object]:
    """What a preset changes of a request. Raises `preset_unreadable`, …"""
    from slmdesk.quantize.request import load_preset

    found = await in_thread(load_preset, path, before.model)
    return {name: getattr(found, name) for name in _KEPT}
