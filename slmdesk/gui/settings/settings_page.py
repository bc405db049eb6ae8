"""The Settings page: made from the table of settings, so that none can be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer

from slmdesk.core.setting_table import groups
from slmdesk.gui.actions import Action
from slmdesk.gui.page import Page, WindowServices
from slmdesk.gui.settings.device_row import DeviceRow
from slmdesk.gui.settings.machine_controller import MachineController
from slmdesk.gui.settings.safe_steps_card import SafeStepsCard
from slmdesk.gui.settings.self_test_card import SelfTestCard
from slmdesk.gui.settings.setting_rows import SettingRow
from slmdesk.gui.settings.settings_controller import SettingsController
from slmdesk.gui.settings.tool_servers_card import ToolServersCard
from slmdesk.gui.settings.tool_servers_controller import ToolServersController
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import GroupCard
from slmdesk.gui.widgets.fields import SearchField
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.scrolling import ScrollingColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtWidgets import QWidget

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.core.setting_table import Setting, Value
    from slmdesk.core.settings import Source
    from slmdesk.engines.device_report import DeviceLine
    from slmdesk.engines.safe_steps import Remembered
    from slmdesk.engines.self_test_outcome import Outcome
    from slmdesk.tools.toolbox import ServerEntry

AT_ONCE = 2
"""Groups that fill the page before one scrolls."""


class SettingsPage(Page):
    """Groups of settings, a search over all of them, and Undo after each change.

    The groups in sight are built at once, the others one by one while nothing else is to do.
    """

    id = "settings"
    title = "Settings"
    icon = "settings"
    can_find = True
    surface = "window"

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        self._rows: dict[str, SettingRow] = {}
        self._waiting = list(groups().items())
        self._groups: list[tuple[Label, GroupCard, list[SettingRow | DeviceRow]]] = []
        self._search = SearchField(self.theme, "Search settings")
        self._search.setFixedWidth(MEASURE.field)
        self._search.textChanged.connect(self.filter)
        self._search.left.connect(self._to_first)
        self._about = Button(self.theme, "About", kind="quiet", icon="about")
        self._about.clicked.connect(lambda: services.go_to("about"))
        self._none = Label(self.theme, "", tone="secondary")
        self._none.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._none.hide()
        self.machine = machine = MachineController(services, self)
        self.safe_steps = SafeStepsCard(self.theme, machine.forget_step)
        self.self_test = SelfTestCard(self.theme, machine.test)
        self.tool_controller = ToolServersController(services, self)
        self.tool_servers = ToolServersCard(self.theme, self.tool_controller)
        self.devices = DeviceRow(self.theme, lambda: machine.look_for_devices(failed_too=True))
        self.controller = SettingsController(services, self)
        self._lay_out()

    @property
    def rows(self) -> dict[str, SettingRow]:
        """All rows by key."""
        self.complete()
        return self._rows

    def complete(self) -> None:
        """Build what is not built yet."""
        while self._waiting:
            self._build_group()

    def header_widgets(self) -> list[QWidget]:
        return [self._search, self._about]

    def commands(self) -> list[Action]:
        return [Action("settings.find", "Find a setting", self._find_action, icon="search")]

    def activated(self) -> None:
        self.machine.activated()
        self.tool_controller.activated()

    def show_tool_servers(self) -> None:
        """Scroll to the servers of tools."""
        self._search.clear()
        self.complete()
        self._area.ensureWidgetVisible(self.tool_servers)
        self.tool_servers.setFocus(Qt.FocusReason.OtherFocusReason)

    def filter(self, words: str) -> None:
        """Show only the settings that hold every one of `words`."""
        self.complete()
        wanted = words.casefold().split()
        found = 0
        for heading, card, rows in self._groups:
            shown: set[QWidget] = {row for row in rows if all(word in row.words for word in wanted)}
            card.show_rows(shown)
            heading.setVisible(bool(shown))
            found += len(shown)
        self.safe_steps.setVisible(self.safe_steps.found_by(wanted))
        found += self.safe_steps.isVisibleTo(self)
        self.self_test.setVisible(self.self_test.found_by(wanted))
        found += self.self_test.isVisibleTo(self)
        self.tool_servers.setVisible(self.tool_servers.found_by(wanted))
        found += self.tool_servers.isVisibleTo(self)
        self._none.setText(f"No setting has to do with “{words.strip()}”.")
        self._none.setVisible(found == 0)

    # What the controllers show

    def show_value(self, key: str, value: Value, source: Source) -> None:
        if key in self._rows:  # those further down are built later, with the value of then
            self._rows[key].show_value(value, source)

    def show_wrong(self, key: str, words: str) -> None:
        self._rows[key].set_error(words)

    def show_safe_steps(self, remembered: Sequence[Remembered]) -> None:
        self.safe_steps.show_steps(remembered)

    def show_self_test(self, outcome: Outcome | None) -> None:
        self.self_test.show_outcome(outcome)

    def show_testing(self, family: str, number: int) -> None:
        self.self_test.show_testing(family, number)

    def show_servers(self, entries: Sequence[ServerEntry], always: Sequence[str]) -> None:
        self.tool_servers.show_servers(entries, always)

    def show_checking(self, name: str, *, on: bool) -> None:
        self.tool_servers.show_checking(name, on=on)

    def show_add_problem(self, error: SlmDeskError) -> None:
        self.tool_servers.form.show_problem(error)

    def show_added(self) -> None:
        self.tool_servers.close_form()

    def show_devices(self, lines: Sequence[DeviceLine]) -> None:
        self.devices.show_lines(lines)

    def show_looking(self, *, on: bool) -> None:
        self.devices.show_looking(on=on)

    # Building

    def _lay_out(self) -> None:
        self._area = ScrollingColumn(widest=MEASURE.pages, top=SPACE.small)
        self._column = column = self._area.column
        column.addWidget(self.tool_servers)
        column.addWidget(self.safe_steps)
        column.addWidget(self.self_test)
        column.addSpacing(SPACE.huge)
        column.addWidget(self._none)
        column.addStretch(1)
        layout = vbox(self, margins=0)
        layout.addWidget(self._area)
        for _ in range(AT_ONCE):
            self._build_group()
        self._later = QTimer(self)
        self._later.setInterval(0)
        self._later.timeout.connect(self._build_later)
        self._later.start()

    def _build_later(self) -> None:
        if self._waiting:
            self._build_group()
        else:
            self._later.stop()

    def _build_group(self) -> None:
        title, settings = self._waiting.pop(0)
        heading = Label(self.theme, title, role="emphasis")
        heading.setContentsMargins(0, SPACE.large, 0, 0)
        card = GroupCard(self.theme)
        rows: list[SettingRow | DeviceRow] = []
        for setting in settings:
            rows.append(self._row(setting))
            if setting.key == "engine.gpu_layers":
                rows.append(self.devices)
        for row in rows:
            card.add_row(row)
        place = 2 * len(self._groups)
        self._column.insertWidget(place, heading)
        self._column.insertWidget(place + 1, card)
        self._groups.append((heading, card, rows))

    def _row(self, setting: Setting) -> SettingRow:
        row = SettingRow(self.services, setting)
        key = setting.key
        row.edited.connect(lambda value: self.controller.change(key, value))
        row.reset.connect(lambda: self.controller.reset(key))
        self._rows[key] = row
        self.controller.show(key)
        return row

    def find_here(self) -> None:
        self._search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self._search.selectAll()

    def _find_action(self) -> None:
        self.services.go_to(self.id)
        self.find_here()

    def _to_first(self) -> None:
        for _, _, rows in self._groups:
            for row in rows:
                if row.isVisible() and isinstance(row, SettingRow):
                    row.control.setFocus(Qt.FocusReason.TabFocusReason)
                    self._area.ensureWidgetVisible(row)
                    return
