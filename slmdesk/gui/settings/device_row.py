"""The GPUs of this machine, as a row of the settings: what models use, or what keeps them from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow
from slmdesk.gui.widgets.layouts import hbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.engines.device_report import DeviceLine
    from slmdesk.gui.theme import Theme

_ICONS = {"ok": ("good", "good"), "note": ("memory", "secondary"), "warning": ("error", "caution")}


class DeviceRow(CardRow):
    """One line a device; `look_again` is called to ask once more, also a driver that failed."""

    def __init__(self, theme: Theme, look_again: Callable[[], None]) -> None:
        super().__init__(theme, "GPUs of this machine", "Looking …")
        self._lines: list[DeviceLine] = []
        self._shown: list[Label | Icon] = []
        self._again = Button(theme, "Look again", kind="quiet", small=True)
        self._again.setAccessibleName("Look for GPUs again")
        self._again.clicked.connect(lambda _checked: look_again())
        self.trailing.addWidget(self._again)

    @property
    def words(self) -> str:
        """What the search over the settings finds it by."""
        told = " ".join(f"{line.name} {line.text} {line.hint}" for line in self._lines)
        return f"gpu gpus graphics card device devices vulkan cuda metal {told}".casefold()

    def show_looking(self, *, on: bool) -> None:
        """The devices are being asked for, or were."""
        self._again.setEnabled(not on)

    def show_lines(self, lines: Sequence[DeviceLine]) -> None:
        """Show these lines in place of those before."""
        if list(lines) == self._lines:
            return
        self._lines = list(lines)
        for widget in self._shown:
            widget.deleteLater()
        self._shown = []
        self.text.hide()
        for line in lines:
            self._add(line)

    def _add(self, line: DeviceLine) -> None:
        name, colour = _ICONS[line.tone]
        mark = Icon(self.theme, name, size=MEASURE.icon_small, colour=colour)
        text = Label(self.theme, line.text[:1].upper() + line.text[1:], role="small", wrap=True)
        text.setAccessibleName(f"{line.name}: {line.text}")
        across = hbox(spacing=SPACE.small)
        across.addWidget(mark)
        across.addWidget(text, 1)
        self.body.addLayout(across)
        self._shown += [mark, text]
        if line.hint:
            hint = Label(self.theme, line.hint, role="small", tone="secondary", wrap=True)
            self.body.addWidget(hint)
            self._shown.append(hint)
