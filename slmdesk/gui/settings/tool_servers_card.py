"""Servers of tools on the Settings page: how each is, adding one, and what may be called without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from PySide6.QtWidgets import QWidget

from slmdesk.gui.settings.tool_server_form import ToolServerForm
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.switches import Switch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.theme import Theme
    from slmdesk.tools.toolbox import ServerEntry

_SEARCHED = "tools mcp servers calculator model context protocol plugins functions approve always"
_LINES = 12  # of a log


class ToolServerDeeds(Protocol):
    """What can be done with servers."""

    def add(self, name: str, what: str, values: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def enable(self, name: str, *, on: bool) -> None: ...
    def check(self, name: str) -> None: ...
    def ask_again(self, key: str) -> None: ...


class ToolServersCard(QWidget):
    """A group of the Settings page.

    Attributes:
        form: where one is added.
    """

    def __init__(self, theme: Theme, deeds: ToolServerDeeds) -> None:
        super().__init__()
        self._theme = theme
        self._deeds = deeds
        self._layout = vbox(self, margins=0, spacing=SPACE.small)
        self.heading = Label(theme, "Servers of tools", role="emphasis")
        self.heading.setContentsMargins(0, SPACE.large, 0, 0)
        self._layout.addWidget(self.heading)
        self._card: GroupCard | None = None
        self.form = ToolServerForm(theme)
        self.form.wanted.connect(deeds.add)
        self.form.hide()
        self._add = Button(theme, "Add a server", icon="add")
        self._add.clicked.connect(self.open_form)
        self.form.left.connect(self.close_form)
        below = hbox(margins=0)
        below.addWidget(self._add)
        below.addStretch(1)
        self._layout.addWidget(self.form)
        self._layout.addLayout(below)
        self._checking: set[str] = set()
        self._logs: set[str] = set()  # of these servers the log is unfolded
        self._entries: Sequence[ServerEntry] = ()
        self._always: Sequence[str] = ()
        self.show_servers((), ())

    @property
    def rows(self) -> list[CardRow]:
        return self._card.findChildren(CardRow) if self._card is not None else []

    def found_by(self, search: Sequence[str]) -> bool:
        """Whether the group has to do with all of these words (in lower case)."""
        texts = [f"{row.title.text()} {row.text.text()}" for row in self.rows]
        return all(word in f"{_SEARCHED} {' '.join(texts)}".casefold() for word in search)

    def open_form(self) -> None:
        """Let the person add a server."""
        self.form.show()
        self._add.hide()
        self.form.begin()

    def close_form(self) -> None:
        """The form is not needed any more."""
        self.form.hide()
        self.form.empty()
        self._add.show()
        self._add.setFocus()

    def show_checking(self, name: str, *, on: bool) -> None:
        """A server is being started to see how it is."""
        self._checking = self._checking | {name} if on else self._checking - {name}
        self.show_servers(self._entries, self._always)

    def show_servers(self, entries: Sequence[ServerEntry], always: Sequence[str]) -> None:
        """Show the servers, and the tools that may be called without asking."""
        self._entries, self._always = entries, always
        if self._card is not None:
            self._card.hide()
            self._card.deleteLater()
        self._card = GroupCard(self._theme, parent=self)
        for entry in entries:
            self._card.add_row(self._row(entry))
        for key in always:
            self._card.add_row(self._always_row(key))
        if not entries:
            self._card.add_row(
                CardRow(
                    self._theme,
                    "None yet",
                    "A server (MCP) brings tools that a model may call, once you approved: your files, a search, your "
                    "notes. The calculator, the time and picked files need none.",
                )
            )
        self._layout.insertWidget(1, self._card)
        self._card.show()

    def _row(self, entry: ServerEntry) -> CardRow:
        theme, name = self._theme, entry.server.name
        row = CardRow(theme, name, _words(entry, checking=name in self._checking))
        where = Label(theme, entry.server.where, role="small", tone="secondary", wrap=True, selectable=True)
        row.body.insertWidget(1, where)
        problem = entry.health.problem
        if problem is not None and name not in self._checking:
            row.text.set_tone("bad")
        self._add_log(row, entry)
        check = Button(theme, "Check", kind="quiet")
        check.setAccessibleName(f"Check {name}: start it and list its tools")
        check.set_busy(name in self._checking)
        check.clicked.connect(lambda _checked: self._deeds.check(name))
        switch = Switch(theme, f"Use {name}", on=entry.server.enabled)
        switch.clicked.connect(lambda on: self._deeds.enable(name, on=on))
        remove = IconButton(theme, "delete", f"Remove {name}")
        remove.clicked.connect(lambda _checked: self._deeds.remove(name))
        for control in (check, switch, remove):
            row.trailing.addWidget(control)
        return row

    def _add_log(self, row: CardRow, entry: ServerEntry) -> None:
        """The last lines that a server wrote, folded away until somebody wants them."""
        name, tail = entry.server.name, entry.health.tail[-_LINES:]
        if not tail:
            return
        shown = name in self._logs
        toggle = Button(self._theme, "Hide its log" if shown else "Show its log", kind="link", small=True)
        toggle.setAccessibleName(f"{toggle.text()}: {name}")
        toggle.clicked.connect(lambda _checked: self._show_log(name))
        line = hbox(margins=0)
        line.addWidget(toggle)
        line.addStretch(1)
        row.body.addLayout(line)
        if shown:
            log = Label(
                self._theme, "\n".join(tail), role="small", tone="secondary", wrap=True, selectable=True
            )
            row.body.addWidget(log)

    def _show_log(self, name: str) -> None:
        self._logs ^= {name}
        self.show_servers(self._entries, self._always)

    def _always_row(self, key: str) -> CardRow:
        server, _, tool = key.partition("/")
        whose = "" if server == "built-in" else f" of {server}"
        row = CardRow(self._theme, f"{tool}{whose}", "Is called without asking.")
        button = Button(self._theme, "Ask again", kind="quiet")
        button.setAccessibleName(f"Ask again before {tool}{whose} is called")
        button.clicked.connect(lambda _checked: self._deeds.ask_again(key))
        row.trailing.addWidget(button)
        return row


def _words(entry: ServerEntry, *, checking: bool) -> str:
    """How a server is, in a sentence."""
    health = entry.health
    notes = " ".join((*health.left_out, *entry.server.notes))
    if checking:
        return "Starting …"
    if not entry.server.enabled:
        return "Turned off."
    if health.problem is not None:
        return str(health.problem)
    if health.state == "running":
        count = len(health.tools)
        names = ", ".join(tool.name for tool in health.tools[:6]) + (", and others" if count > 6 else "")
        told = (
            f"Runs, with {count} tool{'' if count == 1 else 's'}: {names}."
            if count
            else "Runs, and offers no tools."
        )
        return f"{told} {notes}".strip()
    return f"Starts when a conversation uses it. {notes}".strip()
