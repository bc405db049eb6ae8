"""The chart of sizes and losses: where its dots and names are, and what it tells of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication

from slmdesk.gui.quantize.chart import LossChart, ticks
from slmdesk.gui.theme import Theme
from slmdesk.quantize.results import ResultRow, result_rows
from slmdesk.quantize.store import Quant

QUANTS = (("Q8_0", 9, 0.001), ("Q6_K", 7, 0.004), ("Q5_1", 6, 0.008), ("Q4_K_M", 5, 0.02), ("Q4_0", 4, 0.05),
          ("Q3_K_M", 3, 0.1), ("Q2_K", 2, 0.6), ("TQ2_0", 1, 3.0))  # fmt: skip


def rows() -> list[ResultRow]:
    def quant(name: str, size: int, kld: float, **facts: object) -> Quant:
        figures = {"size_bytes": size * 10**6, "kld_mean": kld, "perplexity_ratio": 1 + kld, "text_sha256": "a",
                   "generation_tokens_s": 100.0 - size, **facts}  # fmt: skip
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


@pytest.mark.parametrize(
    ("low", "high", "most", "texts"),
    [
        (0, 10, 5, ["0", "2", "4", "6", "8", "10"]),
        (0.02, 0.1, 4, ["0.02", "0.04", "0.06", "0.08", "0.10"]),
        (-0.4, 3.4, 8, ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0"]),
        (0, 18_000, 3, ["0", "10000"]),
        (5, 5, 3, []),
    ],
)
def test_axes_carry_round_numbers(low: float, high: float, most: int, texts: list[str]) -> None:
    assert [text for _, text in ticks(low, high, most)] == texts


def test_dots_stand_by_size_and_loss(chart: LossChart) -> None:
    spots = {row.quant: chart.spot(row) for row in chart.rows}
    order = ["TQ2_0", "Q2_K", "Q3_K_M", "Q4_0", "Q4_K_M", "Q5_1", "Q6_K", "Q8_0", "F16"]
    assert [name for name, _ in sorted(spots.items(), key=lambda item: item[1].x())] == order
    assert spots["TQ2_0"].y() < spots["Q2_K"].y() < spots["Q3_K_M"].y() < spots["F16"].y()
    assert all(chart.rect().contains(spot) for spot in spots.values())
    chart.show_rows(rows(), "worse")
    assert chart.spot(chart.rows[0]).y() > chart.spot(chart.rows[-1]).y()


def test_names_cover_neither_dots_nor_each_other(chart: LossChart) -> None:
    names = [spot for _, spot in chart._scene.names]
    assert len(names) == len(QUANTS) + 1
    assert not any(one.intersects(other) for one, other in itertools.combinations(names, 2))
    for _, centre, size in chart._scene.dots:
        dot = QRectF(0, 0, size - 1, size - 1)
        dot.moveCenter(centre)
        assert not any(dot.intersects(name) for name in names)


def test_the_pointer_on_a_dot_tells_its_figures(chart: LossChart) -> None:
    told: list[object] = []
    chart.pointed.connect(told.append)
    row = next(row for row in chart.rows if row.quant == "Q2_K")
    point(chart, chart.spot(row))
    assert chart.told == "Q2_K"
    point(chart, QPoint(chart.width() - 3, 3))
    assert chart.told == ""
    assert told == [row, None]


def test_it_is_drawn_and_follows_the_theme(chart: LossChart, fresh_theme: Theme, tmp_path: Path) -> None:
    light = chart.picture(1.0)
    row = next(row for row in chart.rows if row.quant == "TQ2_0")
    assert light.pixelColor(chart.spot(row)) != fresh_theme.colour("surface")
    assert light.save(str(tmp_path / "chart.png"))
    fresh_theme.set_choice("dark")
    assert chart.picture(1.0).pixelColor(1, 1) == fresh_theme.colour("surface")
    chart.show_rows([], "kld")
    assert chart.picture(1.0).pixelColor(chart.spot(row)) == fresh_theme.colour("surface")
