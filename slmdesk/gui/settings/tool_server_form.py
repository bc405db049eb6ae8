"""Adding a server of tools: a name, and what starts or reaches it; or the JSON that its documentation shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal

from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import LabelledField, TextArea, TextField
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from PySide6.QtGui import QKeyEvent

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.theme import Theme


class ToolServerForm(Pane):
    """Three fields and a button.

    Signals:
        wanted(str, str, str): a server should be added: its name, what it is, and keys.
        left: the person does not want to any more.
    """

    wanted = Signal(str, str, str)
    left = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, kind="card")
        self.what = TextArea(theme, placeholder="npx -y some-server ~/notes", lines=2, most=10)
        self._what = LabelledField(
            theme,
            "Command or address",
            self.what,
            help_text="What starts the server here, or its address, as in https://example.org/mcp. The JSON that its "
            "documentation shows, {"
            '"mcpServers": …}, can be pasted as it is.',
        )
        self.name = TextField(theme, placeholder="notes")
        self._name = LabelledField(theme, "Name", self.name, help_text="Not needed with pasted JSON.")
        self.values = TextArea(theme, placeholder="API_KEY=…", lines=1, most=6)
        self._values = LabelledField(
            theme,
            "Keys",
            self.values,
            help_text="One NAME=VALUE a line: environment variables of a command, headers of an address. They are kept "
            "in the system's keyring.",
        )
        self.add_button = Button(theme, "Add", kind="primary")
        self.add_button.clicked.connect(self._want)
        cancel = Button(theme, "Cancel", kind="quiet")
        cancel.clicked.connect(self.left)
        layout = vbox(self, margins=SPACE.large, spacing=SPACE.medium)
        for field in (self._what, self._name, self._values):
            layout.addWidget(field)
        row = hbox(margins=0, spacing=SPACE.small)
        row.addWidget(self.add_button)
        row.addWidget(cancel)
        row.addStretch(1)
        layout.addLayout(row)

    def begin(self) -> None:
        """Put the focus where one types first."""
        self.what.setFocus(Qt.FocusReason.OtherFocusReason)

    def empty(self) -> None:
        """Forget what was typed."""
        self.what.clear()
        self.name.clear()
        self.values.clear()
        self._what.set_error("")

    def show_problem(self, error: SlmDeskError) -> None:
        """Say why it could not be added; what was typed stays."""
        self._what.set_error(str(error))
        self.begin()

    def _want(self) -> None:
        self._what.set_error("")
        self.wanted.emit(self.name.text(), self.what.toPlainText(), self.values.toPlainText())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)
