"""The chips below the search field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QSizePolicy, QWidget

from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.chips import Chip, MenuChip
from slmdesk.gui.widgets.flow import FlowLayout

if TYPE_CHECKING:
    from slmdesk.catalog.records import CatalogQuery
    from slmdesk.gui.theme import Theme

FORMATS = (
    ("gguf", "GGUF"),
    ("safetensors", "Safetensors"),
    ("onnx", "ONNX"),
    ("mlx", "MLX"),
    ("", "Any format"),
)
LICENCES = (
    ("", "Any licence"),
    ("open", "Nothing to accept first"),
    ("apache-2.0", "Apache 2.0"),
    ("mit", "MIT"),
    ("gemma", "Gemma"),
    ("llama3.2", "Llama 3.2"),
    ("llama3.1", "Llama 3.1"),
    ("cc-by-4.0", "CC BY 4.0"),
    ("cc-by-nc-4.0", "CC BY-NC 4.0"),
)
KINDS = (
    ("", "Any kind"),
    ("instruct", "Made to converse"),
    ("base", "Base models"),
    ("embedding", "Embeddings"),
    ("vision", "Reads pictures"),
)
SORTS = (
    ("relevance", "Best match"),
    ("trending", "Trending"),
    ("downloads", "Most downloads"),
    ("likes", "Most likes"),
    ("updated", "Changed last"),
    ("created", "Newest"),
    ("size", "Smallest first"),
    ("name", "By name"),
)
TIERS = (
    ("micro", "Micro", "100 M to 1.5 B"),
    ("small", "Small", "1.5 to 14 B"),
    ("medium", "Medium", "14 to 30 B"),
)


class Filters(QWidget):
    """What passes: fits here, tier, format, licence, kind; and in which order.

    Signals:
        changed: another chip is on.
    """

    changed = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.memory = 0
        flow = FlowLayout(self, spacing=SPACE.tiny, line=SPACE.tiny)
        self.fits = Chip(theme, "Fits here")
        self.fits.setToolTip("Only models that should run in the memory free now")
        self.tiers = {tier: Chip(theme, title) for tier, title, _ in TIERS}
        for tier, _, tip in TIERS:
            self.tiers[tier].setToolTip(f"{tip} parameters")
        self.format = MenuChip(theme, "Any format", FORMATS, value="gguf", default="")
        self.licence = MenuChip(theme, "Licence", LICENCES, value="", default="")
        self.kind = MenuChip(theme, "Kind", KINDS, value="", default="")
        self.sort = MenuChip(theme, "Sort", SORTS, value="relevance", default="relevance")
        for chip in (self.fits, *self.tiers.values()):
            chip.clicked.connect(lambda _checked: self.changed.emit())
            flow.addWidget(chip)
        for menu in (self.format, self.licence, self.kind, self.sort):
            menu.chosen.connect(lambda _value: self.changed.emit())
            flow.addWidget(menu)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)

    def query(self, text: str) -> CatalogQuery:
        """The words and the chips as a question to the catalog."""
        from slmdesk.catalog.records import CatalogQuery

        kind = self.kind.value
        return CatalogQuery(
            text=text.strip(),
            formats=(self.format.value,) if self.format.value else (),
            tiers=tuple(tier for tier, chip in self.tiers.items() if chip.isChecked()),  # type: ignore[misc]
            licences=(self.licence.value,) if self.licence.value not in {"", "open"} else (),
            task="image-text-to-text" if kind == "vision" else "",
            kind=kind if kind in {"instruct", "base", "embedding"} else None,
            gated=False if self.licence.value == "open" else None,
            fits=self.fits.isChecked(),
            memory=self.memory,
            sort=self.sort.value,
        )

    def clear(self) -> None:
        """Let everything through."""
        for chip in (self.fits, *self.tiers.values()):
            chip.setChecked(False)
        for menu in (self.format, self.licence, self.kind):
            menu.set_value("")
        self.changed.emit()
