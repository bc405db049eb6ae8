"""The button at the top of a conversation: which model answers, and where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Icon, Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox

if TYPE_CHECKING:
    from slmdesk.gui.theme import Theme
    from slmdesk.serving.entries import LoadedModel


class ModelButton(Button):
    """Opens the list of models. A name that finds no room is cut in its middle."""

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(theme, "", parent=parent)
        self._name = ElidedLabel(theme, role="strong", middle=True)
        self._where = Label(theme, role="small", tone="secondary")
        self._where.hide()
        row = hbox(self, margins=(SPACE.small, 0, SPACE.small, 0), spacing=SPACE.small)
        for part in (
            Icon(theme, "model", size=MEASURE.icon_small),
            self._name,
            self._where,
            Icon(theme, "chevron-down", size=MEASURE.icon_small),
        ):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            row.addWidget(part)
        self.show_model("", "")

    @property
    def words(self) -> str:
        """What it says."""
        return f"{self._name.text()} {self._where.text()}".strip()

    def show_model(self, name: str, where: str) -> None:
        """Its name with the quant, and in a few words where it runs ("" where that is not known)."""
        self._name.setText(name or "Choose a model")
        self._where.setText(where)
        self._where.setVisible(bool(where))
        self.setAccessibleName(f"Model: {name}, {where}. Choose another" if name else "Choose a model")
        self.setToolTip("Choose a model")
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        return QSize(self._parts().sizeHint().width(), super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return QSize(self._parts().minimumSize().width(), super().minimumSizeHint().height())

    def _parts(self) -> QHBoxLayout:
        parts = self.layout()
        assert isinstance(parts, QHBoxLayout)
        return parts


def where_words(model: LoadedModel | None) -> str:
    """Where a model runs: "on the processor", "GPU, 24 layers", "loading, 40 %", "not loaded"."""
    if model is None:
        return "not loaded"
    if model.state == "loading":
        return f"loading, {model.progress * 100:.0f} %"
    if model.gpu_layers:
        return f"GPU, {model.gpu_layers} layer{'s' if model.gpu_layers > 1 else ''}"
    return "on the processor"
