"""Step 2: what it is made into. One line of advice; everything else is behind “More”."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.gui.quantize import words
from slmdesk.gui.quantize.rows import target_rows
from slmdesk.gui.quantize.step_card import StepCard
from slmdesk.gui.quantize.target_table import TargetTable
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label, Line
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.quantize.targets import TARGETS

if TYPE_CHECKING:
    from PySide6.QtGui import QResizeEvent

    from slmdesk.gui.quantize.options import OptionsPanel
    from slmdesk.gui.quantize.quantize_controller import QuantizeController
    from slmdesk.gui.theme import Theme


class TargetsCard(StepCard):
    """Attributes:
        table, options: there once “More” was opened.

    Signals:
        opened(bool): “More” was opened or closed.
        toggled(str): a quant was ticked or left.
    """

    opened = Signal(bool)
    toggled = Signal(str)
    built = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, 2, "Target")
        self.table: TargetTable | None = None
        self.options: OptionsPanel | None = None
        self._whole = False
        self._advice = Label(theme, "", role="strong", wrap=True)
        self._why = Label(theme, "", tone="secondary", wrap=True)
        self.more = Button(theme, "More", kind="quiet", icon="chevron-down", small=True)
        self.more.setAccessibleName("More targets and options")
        self.more.clicked.connect(self._fold)
        self.head.addWidget(self.more)
        self._folded = QWidget()
        self._inner = vbox(self._folded, margins=(0, SPACE.tiny, 0, 0), spacing=SPACE.small)
        self._folded.hide()
        self._all = Button(theme, f"Show all {len(TARGETS)} quants", kind="link", small=True)
        self._all.clicked.connect(self._show_all)
        self.body.addWidget(self._advice)
        self.body.addWidget(self._why)
        self.body.addWidget(self._folded)

    @property
    def advice(self) -> str:
        return self._advice.text()

    @property
    def unfolded(self) -> bool:
        return not self._folded.isHidden()

    @property
    def shown(self) -> frozenset[str]:
        """The quants in the table."""
        return frozenset(row.name for row in self.table.rows) if self.table is not None else frozenset()

    def show_nothing(self) -> None:
        """No source is chosen."""
        self._advice.setText("Choose a model first.")
        self._why.hide()
        self.more.setEnabled(False)

    def show_advice(self, controller: QuantizeController, size: int) -> None:
        """The recommendation and its reason."""
        self.more.setEnabled(True)
        self._why.show()
        found, subject = controller.advice, controller.subject
        if subject is None:
            return
        if found is not None:
            exact = controller.forecasts.get(found.quant)
            count = exact.bytes if exact is not None else size
            advice = f"{words.advice(found, count, subject.quant)}."
            chosen = controller.request.targets
            # Also where the table is folded away, it is what will be made that stands first.
            other = bool(chosen) and chosen != (found.quant,)
            self._advice.setText(f"Chosen: {', '.join(chosen)}." if other else advice)
            self._why.setText(f"Advised: {advice} {found.why}" if other and found.quant else found.why)
        elif controller.request.targets:
            name = controller.request.targets[0]
            self._advice.setText(f"{name}: about {amounts.size(size)}.")
            self._why.setText(
                "Its exact size, and whether it fits, are known once the folder is converted."
                if subject.source is None
                else "Its header does not tell enough to say whether it will fit here."
            )
        else:
            self._advice.setText("Nothing smaller is advised.")
            self._why.setText("This file is quantized already; tick a quant to make one all the same.")

    def show_rows(self, controller: QuantizeController) -> None:
        """Fill the table, where it is open."""
        if self.table is None or controller.subject is None:
            return
        self.table.show_rows(
            target_rows(
                whole=self._whole,
                ticked=set(controller.request.targets),
                recommended=controller.advice.quant if controller.advice is not None else "",
                parameters=controller.subject.parameters,
                forecasts=controller.forecasts,
                source_bytes=controller.subject.source.bytes if controller.subject.source is not None else 0,
                source_quant=controller.subject.quant,
            )
        )
        if self.options is not None:
            self.options.show_request(controller.request, controller.subject.parts)

    def fold(self, *, away: bool) -> None:
        """Close “More”, or open it."""
        if away == self.unfolded:
            self._fold()

    def _fold(self) -> None:
        shown = not self.unfolded
        self._folded.setVisible(shown)
        self.more.setText("Less" if shown else "More")
        self.more.set_icon("chevron-up" if shown else "chevron-down")
        if shown and self.table is None:
            self.table = TargetTable(self.theme)
            self.table.toggled.connect(self.toggled)
            self._inner.addWidget(self.table)
            row = QHBoxLayout()
            row.addWidget(self._all)
            row.addStretch(1)
            self._inner.addLayout(row)
            # The options are built when the table was drawn: a turn of the loop stays short.
            QTimer.singleShot(0, self, self._build_options)
        self.opened.emit(shown)

    def _build_options(self) -> None:
        from slmdesk.gui.quantize.options import OptionsPanel

        self._inner.addWidget(Line(self.theme))
        panel = OptionsPanel(self.theme)
        panel.fit_width(self.width())
        panel.hide()  # until it is whole: every control that comes into sight lays the page out and paints it anew
        self._inner.addWidget(panel)
        steps = panel.build()
        # One control a turn of the loop: styling and placing all of them takes several frames.
        self._builder = builder = QTimer(self)

        def step() -> None:
            panel.fit_width(self.width())
            if next(steps, self) is self:
                builder.stop()
                panel.show()
                self.options = panel
                self.built.emit()

        builder.timeout.connect(step)
        builder.start(0)

    def _show_all(self) -> None:
        self._whole = not self._whole
        self._all.setText("Show the usual ones" if self._whole else f"Show all {len(TARGETS)} quants")
        self.opened.emit(True)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.options is not None:
            self.options.fit_width(self.width())
