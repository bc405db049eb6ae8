"""The chart of sizes and losses: where its dots and names are, and what it tells of them."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.quantize.chart import LossChart
from slmdesk.gui.quantize.charting import made_chart
from slmdesk.gui.quantize.results import ResultsPanel
from slmdesk.gui.theme import Theme
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.quantize.results import ResultRow, result_rows
from slmdesk.quantize.store import Quant

QUANTS = (
    ("Q8_0", 9, 0.001),
    ("Q6_K", 7, 0.004),
    ("Q5_1", 6, 0.008),
    ("Q4_K_M", 5, 0.02),
    ("Q4_0", 4, 0.05),
    ("Q3_K_M", 3, 0.1),
    ("Q2_K", 2, 0.6),
    ("TQ2_0", 1, 3.0),
)


def rows() -> list[ResultRow]:
    def quant(name: str, size: int, kld: float, **facts: object) -> Quant:
        figures = {
            "size_bytes": size * 10**6,
            "kld_mean": kld,
            "perplexity_ratio": 1 + kld,
            "text_sha256": "a",
            "generation_tokens_s": 100.0 - size,
            **facts,
        }
        return Quant(f"/models/{name}.gguf", "maker/model", "/models/F16.gguf", name, figures, 1.0)

    source = quant("F16", 16, 0.0, is_source=True, perplexity=5.0)
    return result_rows([source, *(quant(*one) for one in QUANTS)], "Q4_K_M")


@pytest.fixture
def chart(fresh_theme: Theme) -> LossChart:
    chart = LossChart(fresh_theme)
    chart.resize(560, 500)
    chart.show_rows(rows(), "kld")
    chart.show()
    return chart


def point(chart: LossChart, at: QPoint) -> None:
    none = Qt.MouseButton.NoButton
    event = QMouseEvent(
        QEvent.Type.MouseMove, QPointF(at), QPointF(at), none, none, Qt.KeyboardModifier.NoModifier
    )
    QApplication.sendEvent(chart.canvas, event)


def test_dots_stand_by_size_and_loss(chart: LossChart) -> None:
    spots = {row.quant: chart.spot(row) for row in chart.rows}
    order = ["TQ2_0", "Q2_K", "Q3_K_M", "Q4_0", "Q4_K_M", "Q5_1", "Q6_K", "Q8_0", "F16"]
    assert [name for name, _ in sorted(spots.items(), key=lambda item: item[1].x())] == order
    assert spots["TQ2_0"].y() < spots["Q2_K"].y() < spots["Q3_K_M"].y() < spots["F16"].y()
    assert all(chart.rect().contains(spot) for spot in spots.values())
    chart.show_rows(rows(), "worse")
    assert chart.spot(chart.rows[0]).y() > chart.spot(chart.rows[-1]).y()


@pytest.mark.parametrize("size", [(560, 500), (560, 300), (760, 380), (470, 300)])
def test_names_cover_neither_dots_nor_each_other(chart: LossChart, size: tuple[int, int]) -> None:
    chart.resize(*size)
    pages = chart.places()
    assert [page.row for page in pages] == chart.rows
    names = [page.name for page in pages]
    assert all(name.width() > 20 and name.height() > 8 for name in names)
    assert all(QRectF(chart.rect()).contains(name) for name in names)
    assert not any(one.intersects(other) for one, other in itertools.combinations(names, 2))
    for page in pages:
        dot = page.dot.adjusted(1, 1, -1, -1)
        assert dot.contains(QPointF(chart.spot(page.row)))
        assert not any(dot.intersects(name) for name in names)


def test_names_stand_near_their_dots_and_follow_them(chart: LossChart, qtbot: QtBot) -> None:
    def lonely() -> QPointF:
        page = next(page for page in chart.places() if page.row.quant == "TQ2_0")
        return page.name.center() - page.dot.center()

    away = lonely()
    assert away.manhattanLength() < 60
    before = chart.picture(1.0)
    chart.resize(900, 480)
    qtbot.waitUntil(lambda: chart.picture(1.0).size() == chart.size())
    assert before.size() != chart.size()
    assert lonely() == away


def test_the_pointer_on_a_dot_tells_its_figures(chart: LossChart) -> None:
    told: list[object] = []
    chart.pointed.connect(told.append)
    row = next(row for row in chart.rows if row.quant == "Q2_K")
    assert chart.childAt(chart.spot(row)) is None  # the wheel goes to the page, the pointer to the chart
    point(chart, chart.spot(row))
    assert chart.told == "Q2_K"
    point(chart, QPoint(chart.width() - 3, 3))
    assert chart.told == ""
    assert told == [row, None]
    point(chart, chart.spot(row))
    chart.show_rows([one for one in rows() if one.quant != "Q2_K"], "kld")
    assert chart.told == ""
    assert "Q2_K" not in {page.row.quant for page in chart.places()}


def test_it_is_drawn_and_follows_the_theme(chart: LossChart, fresh_theme: Theme, tmp_path: Path) -> None:
    light = chart.picture(1.0)
    row = next(row for row in chart.rows if row.quant == "TQ2_0")
    assert light.pixelColor(chart.spot(row)) != fresh_theme.colour("surface")
    assert light.save(str(tmp_path / "chart.png"))
    fresh_theme.set_choice("dark")
    assert chart.picture(1.0).pixelColor(1, 1) == fresh_theme.colour("surface")
    chart.show_rows([], "kld")
    assert chart.picture(1.0).pixelColor(chart.spot(row)) == fresh_theme.colour("surface")


async def test_without_the_library_the_table_stays_and_the_chart_is_asked_for_again(
    fresh_theme: Theme, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    panel = ResultsPanel(fresh_theme)
    panel.chart_wanted.connect(lambda: asked.append(True))
    for _ in panel.build():
        pass
    panel.show_rows(rows())
    panel.show_rows(rows()[:5])
    assert asked == [True]
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "pyqtgraph", None)
        broken.delitem(sys.modules, "slmdesk.gui.quantize.chart")
        with pytest.raises(SlmDeskError) as told:
            await made_chart(fresh_theme)
    assert told.value.code == "chart_missing"
    panel.show_no_chart(told.value)
    panel.show()
    QApplication.processEvents()
    assert panel.findChild(ErrorPanel).isVisible()  # type: ignore[union-attr]
    assert panel.table.rows_model.rowCount() == 5

    panel.show_rows(rows())
    assert asked == [True, True]
    panel.show_chart(await made_chart(fresh_theme))
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert panel.findChild(ErrorPanel) is None
    assert panel.chart is not None
    assert len(panel.chart.places()) == len(QUANTS) + 1


async def test_importing_leaves_the_ways_to_report_defects(fresh_theme: Theme) -> None:
    hooks = sys.excepthook, sys.unraisablehook
    await made_chart(fresh_theme)
    assert (sys.excepthook, sys.unraisablehook) == hooks
    assert "pyqtgraph.exceptionHandling" not in sys.modules
