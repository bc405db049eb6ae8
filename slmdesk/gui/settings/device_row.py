"""The GPUs of this machine, as a row of the settings: what models use, or what keeps them from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QHBoxLayout

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow

if TYPE_CHECKING:
    from slmdesk.engines.device_report import DeviceLine
    from slmdesk.gui.page import WindowServices

_ICONS = {"ok": ("good", "good"), "note": ("memory", "secondary"), "warning": ("error", "caution")}


class DeviceRow(CardRow):
    """One line a device, asked for when the settings are looked at."""

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services.theme, "GPUs of this machine", "Looking …")
        self.services = services
        self._lines: list[DeviceLine] = []
        self._shown: list[Label | Icon] = []
        self._again = Button(services.theme, "Look again", kind="quiet", small=True)
        self._again.setAccessibleName("Look for GPUs again")
        self._again.clicked.connect(lambda: self.look(failed_too=True))
        self.trailing.addWidget(self._again)

    @property
    def words(self) -> str:
        """What the search over the settings finds it by."""
        told = " ".join(f"{line.name} {line.text} {line.hint}" for line in self._lines)
        return f"gpu gpus graphics card device devices vulkan cuda metal {told}".casefold()

    def look(self, *, failed_too: bool = False) -> None:
        """Ask for the devices and show them; the window goes on meanwhile. `failed_too`: also a driver that failed."""
        self._again.setEnabled(False)
        self.services.run(self._look(failed_too=failed_too), "looking for GPUs")

    def show_lines(self, lines: list[DeviceLine]) -> None:
        """Show these lines in place of those before."""
        if lines == self._lines:
            return
        self._lines = lines
        for widget in self._shown:
            widget.deleteLater()
        self._shown = []
        self.text.hide()
        for line in lines:
            self._add(line)

    async def _look(self, *, failed_too: bool) -> None:
        from slmdesk.core import gpus
        from slmdesk.engines.device_report import report

        application = self.services.application
        try:
            present, _ = await asyncio.to_thread(gpus.probe)
            listing = await application.devices.now(fresh=True, failed_too=failed_too)
            layers = int(application.settings.get("engine.gpu_layers"))
            self.show_lines(report(listing, present, gpu_layers=layers))
        finally:
            self._again.setEnabled(True)

    def _add(self, line: DeviceLine) -> None:
        name, colour = _ICONS[line.tone]
        mark = Icon(self.theme, name, size=MEASURE.icon_small, colour=colour)
        text = Label(self.theme, line.text[:1].upper() + line.text[1:], role="small", wrap=True)
        text.setAccessibleName(f"{line.name}: {line.text}")
        across = QHBoxLayout()
        across.setSpacing(SPACE.small)
        across.addWidget(mark)
        across.addWidget(text, 1)
        self.body.addLayout(across)
        self._shown += [mark, text]
        if line.hint:
            hint = Label(self.theme, line.hint, role="small", tone="secondary", wrap=True)
            self.body.addWidget(hint)
            self._shown.append(hint)
