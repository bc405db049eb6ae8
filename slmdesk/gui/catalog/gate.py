"""When the hub gives a model only to some: which page to open, and where a token goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl, Signal
from PySide6.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from slmdesk.core.error_codes import TOKEN
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Icon, Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import LabelledField, TextField
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.theme import Theme


class GatePanel(Pane):
    """Says which of the two is missing, a token or a right, and offers what helps.

    Signals:
        token_given(str): the person entered a token.
        again: the person did what was asked and wants to try again.
    """

    token_given = Signal(str)
    again = Signal()

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(theme, kind="panel", parent=parent)
        self.setProperty("tone", "caution")
        self._page = ""
        self._words = Label(theme, role="strong", wrap=True)
        self._hint = Label(theme, role="small", tone="secondary", wrap=True)
        self._field = TextField(theme, placeholder="hf_…")
        self._field.setEchoMode(QLineEdit.EchoMode.Password)
        self._field.returnPressed.connect(self._give)
        self._form = LabelledField(
            theme, "Access token", self._field, help_text="It is kept in this system's keyring, nowhere else."
        )
        self._open = Button(theme, "Open its page", icon="link", small=True)
        self._open.clicked.connect(self._open_page)
        self._save = Button(theme, "Save the token", small=True)
        self._save.clicked.connect(self._give)
        self._again = Button(theme, "Try again", kind="quiet", small=True)
        self._again.clicked.connect(self.again)
        buttons = hbox(spacing=SPACE.small)
        for button in (self._save, self._open, self._again):
            buttons.addWidget(button)
        buttons.addStretch(1)
        lines = vbox(spacing=SPACE.small)
        lines.addWidget(self._words)
        lines.addWidget(self._hint)
        lines.addWidget(self._form)
        lines.addLayout(buttons)
        row = hbox(self, margins=(SPACE.large, SPACE.medium, SPACE.large, SPACE.medium), spacing=SPACE.medium)
        mark = QVBoxLayout()
        mark.addWidget(Icon(theme, "lock", colour="caution"))
        mark.addStretch(1)
        row.addLayout(mark)
        row.addLayout(lines, 1)
        self.hide()

    def show_error(self, error: SlmDeskError, page: str) -> None:
        """Show what is missing; `page` is the model's on the hub."""
        self._page = page
        token = error.code in TOKEN
        self._words.setText(error.message)
        self._hint.setText(error.hint)
        self._form.setVisible(token)
        self._save.setVisible(token)
        self._open.setText("Make a token" if token else "Open its page")
        self.set_busy(busy=False)
        self._form.set_error("")
        self.show()
        if token:
            self._field.setFocus()

    def show_wrong(self, words: str) -> None:
        """The token is not one."""
        self.set_busy(busy=False)
        self._form.set_error(words)

    def set_busy(self, *, busy: bool) -> None:
        self._save.set_busy(busy)

    def put_away(self) -> None:
        """Nothing is missing any more; the token leaves the field."""
        self._field.clear()
        self.hide()

    def _give(self) -> None:
        token = self._field.text().strip()
        if token:
            self.set_busy(busy=True)
            self.token_given.emit(token)

    def _open_page(self) -> None:
        from PySide6.QtGui import QDesktopServices

        if not self._form.isHidden():
            root = "/".join(self._page.split("/")[:3])
            QDesktopServices.openUrl(QUrl(f"{root}/settings/tokens"))
        else:
            QDesktopServices.openUrl(QUrl(self._page))
