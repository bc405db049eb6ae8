"""What a page says when it has nothing to show, or when something went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.report import report_text
from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Icon, Label, Pane
from slmdesk.gui.widgets.buttons import Button, IconButton, Kind
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from collections.abc import Callable

DETAIL_LINES = 8


class EmptyState(QWidget):
    """An icon, one sentence, and perhaps one button that mends the emptiness."""

    def __init__(
        self,
        theme: Theme,
        icon: str,
        sentence: str,
        *,
        action: tuple[str, Callable[[], object]] | None = None,
        title: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        layout = vbox(self, margins=SPACE.wide, spacing=SPACE.medium)
        middle = Qt.AlignmentFlag.AlignHCenter
        layout.addStretch(2)
        layout.addWidget(Icon(theme, icon, size=MEASURE.icon_large, colour="secondary"), 0, middle)
        if title:
            layout.addWidget(Label(theme, title, role="emphasis"), 0, middle)
        words = Label(theme, sentence, tone="secondary", wrap=True)
        words.setAlignment(middle)
        words.setMaximumWidth(MEASURE.dialog)
        across = QHBoxLayout()
        across.addStretch(1)
        # The words take their widest; only what is left goes to the sides.
        across.addWidget(words, MEASURE.dialog)
        across.addStretch(1)
        layout.addLayout(across)
        if action:
            text, run = action
            button = Button(theme, text)
            button.clicked.connect(lambda _checked: run())
            layout.addSpacing(SPACE.tiny)
            layout.addWidget(button, 0, middle)
        layout.addStretch(3)


class ErrorPanel(Pane):
    """What happened, what to do about it, and the technical text folded away.

    A `SlmDeskError` is shown in its own words; any other exception is a defect of the program, and the panel
    offers a report to copy.

    Signals:
        closed: the person put the panel away (it hides itself).
    """

    closed = Signal()

    def __init__(
        self,
        theme: Theme,
        error: BaseException,
        *,
        action: tuple[str, Callable[[], object]] | None = None,
        closable: bool = True,
        parent: QWidget | None = None,
    ) -> None:
        expected = isinstance(error, SlmDeskError)
        super().__init__(theme, kind="panel", parent=parent)
        self.setProperty("tone", "bad")
        self.error = error
        self._report = report_text(error)
        if isinstance(error, SlmDeskError):
            what, hint, details = error.message, error.hint, error.details
        else:
            what = "Something in SLM Desk went wrong that should not have."
            hint = "You can go on working. A report helps to mend it."
            details = self._report
        self.setAccessibleName(what)
        self.setAccessibleDescription(hint)

        lines = vbox(spacing=SPACE.tiny)
        lines.addWidget(Label(theme, what, role="strong", wrap=True, selectable=True))
        if hint:
            lines.addWidget(Label(theme, hint, tone="secondary", wrap=True, selectable=True))
        self._details = self._make_details(details)
        buttons = self._make_buttons(action, bool(details), expected=expected)
        if buttons.count() > 1:
            lines.addSpacing(SPACE.tiny)
            lines.addLayout(buttons)
        lines.addWidget(self._details)
        row = hbox(
            self, margins=(SPACE.medium, SPACE.medium, SPACE.small, SPACE.medium), spacing=SPACE.medium
        )
        top = Qt.AlignmentFlag.AlignTop
        row.addWidget(Icon(theme, "error", colour="bad"), 0, top)
        row.addLayout(lines, 1)
        if closable:
            shut = IconButton(theme, "close", "Close this message", small=True)
            shut.clicked.connect(self.put_away)
            row.addWidget(shut, 0, top)

    @property
    def report(self) -> str:
        """The text that "Copy report" copies."""
        return self._report

    def _make_details(self, details: str) -> QPlainTextEdit:
        view = QPlainTextEdit(details)
        view.setProperty("kind", "code")
        view.setReadOnly(True)
        view.setFont(self.theme.code_font())
        view.setAccessibleName("Details")
        view.setTabChangesFocus(True)
        view.setFixedHeight(DETAIL_LINES * view.fontMetrics().lineSpacing() + SPACE.large)
        view.hide()
        return view

    def _make_buttons(
        self, action: tuple[str, Callable[[], object]] | None, details: bool, *, expected: bool
    ) -> QHBoxLayout:
        buttons = hbox(spacing=SPACE.small)
        if action:
            text, run = action
            button = Button(self.theme, text, small=True)
            button.clicked.connect(lambda _checked: run())
            buttons.addWidget(button)
        if details or not expected:
            kind: Kind = "quiet" if expected else "secondary"
            copy = Button(self.theme, "Copy report", kind=kind, icon="copy", small=True)
            copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self._report))
            copy.clicked.connect(lambda: copy.setText("Copied"))
            # The first button stands under the words, so it wears its edge.
            second: Kind = "secondary" if expected and not action else "quiet"
            fold = Button(self.theme, "Show details", kind=second, icon="chevron-down", small=True)
            fold.clicked.connect(lambda: self._unfold(fold))
            if expected:
                buttons.addWidget(fold)
                buttons.addWidget(copy)
            else:
                buttons.addWidget(copy)
                buttons.addWidget(fold)
        buttons.addStretch(1)
        return buttons

    def _unfold(self, button: Button) -> None:
        shown = self._details.isHidden()
        self._details.setVisible(shown)
        button.setText("Hide details" if shown else "Show details")
        button.set_icon("chevron-up" if shown else "chevron-down")

    def put_away(self) -> None:
        """Hide, and say so through `closed`."""
        self.hide()
        self.closed.emit()
