"""Choosing one of the library's models, for a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.theme import MEASURE
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from PySide6.QtGui import QShowEvent

    from slmdesk.gui.page import WindowServices

AUTOMATIC = "Automatic"


class ModelSelect(Select):
    """The models that can be chatted with, read from the library each time it is shown. "" means automatic."""

    def __init__(self, services: WindowServices, name: str) -> None:
        super().__init__(services.theme, [("", AUTOMATIC)])
        self._services = services
        self._model = ""
        self.setAccessibleName(name)
        self.setSizeAdjustPolicy(Select.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setFixedWidth(MEASURE.field_small * 2)

    def show_model(self, model: str) -> None:
        """Show what is chosen, also where the library does not know it (any more)."""
        self._model = model
        if self.findData(model) < 0:
            self.addItem(model, model)
        self.set_value(model)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._services.has_application:
            self._services.run(self._fill(), "listing the models to choose from")

    async def _fill(self) -> None:
        from slmdesk.gui.chat.model_entries import entries_of

        try:
            models = await self._services.application.library.models()
        except SlmDeskError:
            return  # what is chosen stays to be seen; the Library tells what is wrong
        entries = [entry for entry in entries_of(models, {}) if not entry.problem]
        self.set_choices([("", AUTOMATIC), *((entry.id, entry.title) for entry in entries)])
        self.show_model(self._model)
