"""What lies over the page of the Quantize page: two quants on one prompt, and the single steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QStackedWidget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.quantize.compare_quants import CompareQuantsSheet
    from slmdesk.gui.quantize.tool_sheet import ToolSheet
    from slmdesk.quantize.results import ResultRow


class Sheets(QStackedWidget):
    """The page, and what opens over it; each sheet is made when it is first opened.

    Attributes:
        compare, tools: the sheets, once they were opened.
    """

    def __init__(self, services: WindowServices, page: QWidget) -> None:
        super().__init__()
        self._services = services
        self.compare: CompareQuantsSheet | None = None
        self.tools: ToolSheet | None = None
        self.addWidget(page)

    def open_compare(self, rows: Sequence[ResultRow]) -> None:
        """Two of these quants on the same prompt."""
        if self.compare is None:
            from slmdesk.gui.quantize.compare_quants import CompareQuantsSheet

            self.compare = CompareQuantsSheet(self._services)
            self.compare.closed.connect(self.to_page)
            self.addWidget(self.compare)
        self.compare.show_rows(rows)
        self.setCurrentWidget(self.compare)
        self.compare.prompt.setFocus(Qt.FocusReason.OtherFocusReason)

    def open_tools(self, tool: str = "", values: Mapping[str, str] | None = None) -> None:
        """The single steps, with one of them and what is known for it."""
        if self.tools is None:
            from slmdesk.gui.quantize.tool_sheet import ToolSheet

            self.tools = ToolSheet(self._services)
            self.tools.closed.connect(self.to_page)
            self.addWidget(self.tools)
        if tool:
            self.tools.choose(tool, values)
        self.tools.controller.refresh()
        self.setCurrentWidget(self.tools)
        self.tools.tools.setFocus(Qt.FocusReason.OtherFocusReason)

    def to_page(self) -> None:
        """Back to the page; what the comparison still writes ends."""
        if self.compare is not None:
            self.compare.controller.stop()
        self.setCurrentIndex(0)

    def stop(self) -> None:
        """The window closes."""
        for sheet in (self.compare, self.tools):
            if sheet is not None:
                sheet.controller.stop()
