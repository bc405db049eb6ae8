"""The way to measure quants that exist: those of the model that nobody measured yet, or a file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt

from slmdesk.core import amounts
from slmdesk.gui.widgets.menu import Menu

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.quantize.quantize_controller import QuantizeController

MOST_NAMED = 12
KINDS = "Models (*.gguf)"


async def offer(services: WindowServices, controller: QuantizeController, button: QWidget) -> Menu | None:
    """Open the menu below the button; None where no source is chosen."""
    subject = controller.subject
    if subject is None:
        return None
    found = await controller.measurable()
    menu = Menu(services.theme, parent=button)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    if len(found) > 1:
        menu.add(
            f"All {amounts.counted(len(found), 'quant')} that were not measured yet",
            partial(controller.measure, found),
            icon="speed",
        )
    for path in found[:MOST_NAMED]:
        menu.add(path.name, partial(controller.measure, [path]), icon="file")
    menu.add(
        "Another GGUF file",
        lambda: services.run(_choose(controller, button), "choosing a quant to measure"),
        icon="folder",
    )
    menu.popup(button.mapToGlobal(button.rect().bottomLeft()))
    return menu


async def _choose(controller: QuantizeController, button: QWidget) -> None:
    from slmdesk.gui import dialogs

    path = await dialogs.open_file(button.window(), "Open a quant of this model", kinds=KINDS)
    if path is not None:
        controller.measure([path])
