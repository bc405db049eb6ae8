"""How a model is loaded: its context, layers on the GPU and precision, with what that takes of the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.core import amounts
from slmdesk.core.hardware import memory
from slmdesk.gui.catalog.forecast_view import ForecastView
from slmdesk.gui.library.model_rows import ModelValueRow
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.chips import VerdictPill
from slmdesk.gui.widgets.flow import FlowLayout
from slmdesk.gui.widgets.switches import SegmentedSwitch
from slmdesk.gui.widgets.values import NumberField
from slmdesk.inference.limits import FITS, LEAST_CONTEXT, find_model_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slmdesk.gui.page import WindowServices
    from slmdesk.library.in_force import InForce
    from slmdesk.memory.fit import Fit
    from slmdesk.serving.entries import LoadedModel

_STEP = 1024  # tokens
_USUAL = 8192
_MORE = ("parallel", "adapters", "idle_minutes", "pinned")
_MEMORY = "What it will take of this machine."


class ContextRow(CardRow):
    """As the settings say, as long as fits, or a number of tokens.

    Signals:
        edited: the value a person chose; None lets go of it.
    """

    edited = Signal(object)

    def __init__(self, services: WindowServices) -> None:
        declared = find_model_setting("context_length")
        super().__init__(services.theme, "Context", "How much of a conversation the model sees at once.")
        theme = services.theme
        choices = (("usual", "Usual"), ("fits", "As long as fits"), ("number", "Chosen"))
        self.switch = SegmentedSwitch(theme, choices, name="Context")
        self.switch.changed.connect(self._switched)
        self.number = NumberField(
            theme, _USUAL, least=LEAST_CONTEXT, most=int(declared.maximum or 0), step=_STEP, unit="tokens"
        )
        self.number.setGroupSeparatorShown(True)
        self.number.setFixedWidth(MEASURE.field_number)
        self.number.setAccessibleName("Tokens of context")
        self.number.valueChanged.connect(lambda tokens: self.edited.emit(int(tokens)))
        self._foot = Label(theme, "", role="small", tone="secondary", wrap=True)
        holder = QWidget()
        flow = FlowLayout(holder)
        flow.addWidget(self.switch)
        flow.addWidget(self.number)
        self.body.addWidget(holder)
        self.body.addWidget(self._foot)
        self._usual: int | None = None  # what "Usual" keeps: nothing, or 0 over what came with the model

    def show_in_force(self, in_force: InForce, trained: int) -> None:
        """Show what counts; `trained`: tokens the model was trained with, 0 where it is not known."""
        self._usual = None if in_force.kept.brought.context_length is None else 0
        origin = in_force.kept.origin("context_length")
        value = in_force.kept.effective.context_length
        mode = "usual" if value is None or (value == 0) else "fits" if value == FITS else "number"
        self.switch.set_value(mode)
        if value is not None and value > 0:
            self.number.blockSignals(True)
            self.number.setValue(value)
            self.number.blockSignals(False)
        self.number.setVisible(mode == "number")
        most = f"Trained with {amounts.tokens(trained)} tokens" if trained else ""
        by = f"as {in_force.kept.source} runs it" if origin not in {"", "own"} else ""
        beyond = value is not None and bool(trained) and value > trained
        worse = "beyond that answers become worse" if beyond else ""
        words = "; ".join(filter(None, (most, worse, by)))
        self._foot.setText(f"{words[:1].upper()}{words[1:]}." if words else "")
        self._foot.set_tone("caution" if beyond else "secondary")

    def show_length(self, tokens: int) -> None:
        """What "as long as fits" comes to now, so that "Chosen" begins there."""
        if self.switch.value != "number" and tokens >= LEAST_CONTEXT:
            self.number.blockSignals(True)
            self.number.setValue(tokens)
            self.number.blockSignals(False)

    def _switched(self, mode: str) -> None:
        self.edited.emit({"usual": self._usual, "fits": FITS}.get(mode, self.number.value()))


class LoadCard(GroupCard):
    """The rows and the forecast. They are there once `build` has come to its end.

    Signals:
        edited(str, object): the name of a setting and the value a person chose; None lets go of it.
        load_wanted: the loaded model is to be loaded anew, as it is kept now.
    """

    edited = Signal(str, object)
    load_wanted = Signal()

    context: ContextRow
    layers: ModelValueRow
    precision: ModelValueRow
    verdict: VerdictPill
    forecast: ForecastView
    load_anew: Button

    def __init__(self, services: WindowServices, *, compact: bool = False) -> None:
        """`compact`: for a narrow place, without help in view."""
        super().__init__(services.theme)
        self._services = services
        self._compact = compact
        self._shown_rows: list[QWidget] = []
        self.more: dict[str, ModelValueRow] = {}
        self._gpu = False
        self._outdated = False
        self.hide()

    def build(self) -> Iterator[None]:
        """Make the rows, a few milliseconds' work between two steps."""
        self.context = ContextRow(self._services)
        self.context.edited.connect(lambda value: self.edited.emit("context_length", value))
        self._take(self.context)
        yield
        self.layers = self._model_row("gpu_layers")
        yield
        self.precision = self._model_row("cache_type")
        yield
        for name in _MORE:
            self.more[name] = self._model_row(name)
            yield
        self._memory = self._memory_row()
        self._take(self._memory)
        yield
        self._anew = CardRow(self.theme, "Loaded otherwise", "")
        self._anew.text.show()
        self.load_anew = Button(self.theme, "Load anew", icon="refresh")
        self.load_anew.clicked.connect(self.load_wanted)
        self._anew.trailing.addWidget(self.load_anew)
        self._take(self._anew)
        self._sort()

    def _take(self, row: QWidget) -> None:
        self._shown_rows.append(row)
        self.add_row(row)
        self.hide()

    def _model_row(self, name: str) -> ModelValueRow:
        row = ModelValueRow(self._services, find_model_setting(name), compact=self._compact)
        row.edited.connect(lambda value: self.edited.emit(name, value))
        row.reset.connect(lambda: self.edited.emit(name, None))
        self._take(row)
        return row

    def _memory_row(self) -> CardRow:
        row = CardRow(self.theme, "Memory", _MEMORY)
        self.verdict = VerdictPill(self.theme, "fits", "")
        self.verdict.hide()
        self.forecast = ForecastView(self.theme)
        row.body.addWidget(self.verdict, 0, Qt.AlignmentFlag.AlignLeft)
        row.body.addSpacing(SPACE.tiny)
        row.body.addWidget(self.forecast)
        return row

    def show_in_force(self, in_force: InForce, trained: int, *, gpu: bool) -> None:
        """Show what counts for the model; the forecast follows."""
        self.context.show_in_force(in_force, trained)
        self.layers.show_in_force(in_force)
        self.precision.show_in_force(in_force)
        for row in self.more.values():
            row.show_in_force(in_force)
        self._gpu = gpu
        self._sort()

    def show_fit(self, fit: Fit | None, problem: str = "") -> None:
        """Show the forecast; None while it is not known, or cannot be, as `problem` says."""
        self.forecast.setVisible(fit is not None)
        self.verdict.setVisible(fit is not None)
        self._memory.text.setText(problem or _MEMORY)
        if fit is None:
            return
        number = amounts.size(fit.memory_bytes)
        self.verdict.set_verdict(fit.verdict, number)
        self.forecast.show_fit(fit, memory()[0])
        self.context.show_length(fit.forecast.context)

    def show_loaded(self, loaded: LoadedModel | None) -> None:
        """Offer to load a model anew that is loaded otherwise than it is kept by now."""
        self._outdated = loaded is not None and loaded.outdated
        if loaded is not None and self._outdated:
            answering = loaded.active + loaded.queued > 0
            self.load_anew.setEnabled(not answering)
            self._anew.text.setText(
                "It is answering right now, and changes with the next question after that."
                if answering
                else "The loaded model does not know of this yet. Conversations stay as they are."
            )
        self._sort()

    def _sort(self) -> None:
        hidden: set[QWidget] = set() if self._gpu else {self.layers}
        if not self._outdated:
            hidden.add(self._anew)
        self.show_rows(set(self._shown_rows) - hidden)
