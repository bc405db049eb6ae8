"""Making the chart without holding up the window."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.gui.quantize.chart import LossChart
    from slmdesk.gui.theme import Theme


async def made_chart(theme: Theme) -> LossChart:
    """The chart, still without rows.

    pyqtgraph and numpy take half a second to import: in a thread, where they make nothing of Qt's that belongs to
    one. What does is made on this thread, a piece a turn of the event loop.

    Raises `chart_missing` when the libraries cannot be imported.
    """
    try:
        for part in ("numpy", "slmdesk.gui.quantize.chart"):
            await asyncio.to_thread(import_module, part)
    except (ImportError, OSError) as error:
        raise SlmDeskError(
            "chart_missing",
            "The chart cannot be drawn: a part of this program is missing or damaged.",
            "The table has all its figures. Installing SLM Desk again brings the chart back.",
            details=f"{type(error).__name__}: {error}",
        ) from error
    from slmdesk.gui.quantize.chart import LossChart

    chart = LossChart(theme)
    for _ in chart.build():
        await asyncio.sleep(0)
    return chart
