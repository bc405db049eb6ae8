"""The Quantize page with the real model, the real process that does jobs, and real children."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from slmdesk.core.paths import resources_folder
from slmdesk.gui.app import Desk
from slmdesk.gui.quantize import words
from slmdesk.gui.quantize.quantize_page import QuantizePage
from slmdesk.quantize.protocol import Options
from tests.gui.quantize.conftest import Act, until

pytestmark = pytest.mark.timeout(600)


def opened(desk: Desk) -> QuantizePage:
    desk.window.go_to("quantize")
    page = desk.window.page("quantize")
    assert isinstance(page, QuantizePage)
    return page


async def ready(page: QuantizePage) -> None:
    await until(page.run_card.start.isEnabled, "the plan")


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders in `folder`; what is being removed at this moment is gone."""
    return (
        [path.name for path in folder.iterdir() if path.name.startswith(".slmdesk")]
        if folder.is_dir()
        else []
    )


def tick(page: QuantizePage, name: str) -> None:
    """Click a row of the table."""
    table = page.targets.table
    assert table is not None
    at = next(n for n, row in enumerate(table.rows) if row.name == name)
    spot = table.visualRect(table.model().index(at, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=spot)


def test_one_click_makes_measures_and_draws(with_jobs: Callable[[Act], None], tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        page = opened(desk)
        await ready(page)
        assert page.source.facts.startswith("F16 · ")
        assert page.targets.advice.startswith("Q8_0: 5.")
        assert "fits with" in page.targets.advice
        assert "with measuring" in page.run_card.cost
        QTest.mouseClick(page.run_card.start, Qt.MouseButton.LeftButton)
        await until(lambda: "Quantize to Q8_0" in page.run_card.step_names, "the steps")
        await until(lambda: bool(page.run_card.made), "the end")
        assert page.run_card.made == "1 quant made, checked and measured."
        await until(lambda: page.results.chart is not None, "the chart")
        chart = page.results.chart
        assert chart is not None
        await until(lambda: {row.quant for row in chart.rows} == {"F16", "Q8_0"}, "both dots")
        made = next(row for row in chart.rows if row.quant == "Q8_0")
        assert made.recommended
        assert made.kld is not None
        assert 0 < made.kld < 0.1
        assert made.path.stat().st_size == made.size_bytes
        # A pointer on the dot tells its figures.
        QTest.mouseMove(chart.canvas, QPoint(1, 1))
        await asyncio.sleep(0.05)
        QTest.mouseMove(chart.canvas, chart.spot(made))
        await until(lambda: chart.told == "Q8_0", "the figures beside the dot")
        assert page.exported("png").startswith(b"\x89PNG")  # type: ignore[arg-type, union-attr]
        assert [one["quant"] for one in json.loads(page.exported("json"))["quants"]] == ["F16", "Q8_0"]
        # The same again is refused before it runs: nothing is replaced.
        await until(lambda: "there already" in page.run_card.cost, "the refusal")
        assert not page.run_card.start.isEnabled()
        # Both answer the same prompt.
        QTest.mouseClick(page.results.compare, Qt.MouseButton.LeftButton)
        sheet = page.sheets.compare
        assert sheet is not None
        QTest.mouseClick(sheet.ask, Qt.MouseButton.LeftButton)
        await until(lambda: sheet.compared is not None, "both answers")
        assert sheet.compared is not None
        first, second = sheet.sides
        assert first.answer
        at = sheet.compared.differs_at
        if at is None:
            assert first.answer == second.answer
            assert not first.marked
        else:
            assert first.answer.index(first.marked) >= 0
            assert first.marked != second.marked

    with_jobs(scene)


def test_targets_are_forecast_and_presets_shared(with_jobs: Callable[[Act], None], tmp_path: Path) -> None:
    preset = tmp_path / "preset.json"

    async def scene(desk: Desk) -> None:
        page = opened(desk)
        await ready(page)
        QTest.mouseClick(page.targets.more, Qt.MouseButton.LeftButton)
        table = page.targets.table
        assert table is not None
        await until(lambda: all(row.exact for row in table.rows), "every size")
        assert all(row.fit is not None for row in table.rows)
        assert [row.name for row in table.rows if row.ticked] == ["Q8_0"]
        tick(page, "Q4_0")
        tick(page, "Q8_0")
        await until(lambda: page.run_card.cost.startswith("Q4_0: "), "the plan")
        controller = page.controller
        page._change({"options": Options(pure=True, threads=1)})
        from slmdesk.quantize.request import save_preset

        save_preset(preset, controller.request)
        page._change({"options": Options(), "targets": ("Q6_K",)})
        await page.controller.take_preset(preset)
        assert controller.request.targets == ("Q4_0",)
        assert controller.request.options == Options(pure=True, threads=1)
        options = page.targets.options
        assert options is not None
        assert options.pure.isChecked()
        # A target that needs a matrix says so at its field, and cannot be started without one.
        page._change({"targets": ("IQ2_XXS",), "options": Options(), "imatrix": "none"})
        await until(lambda: "cannot be made without" in page.run_card.cost, "what is missing")
        assert not page.run_card.start.isEnabled()
        # Ticking it by hand takes the matrix along.
        page._toggle("IQ2_XXS")
        page._toggle("IQ2_XXS")
        assert controller.request.matrix == "auto"
        await ready(page)
        assert "With an importance matrix" in page.run_card.cost
        page._toggle("IQ2_XXS")
        page._toggle("Q4_K_M")
        await ready(page)
        assert "Without an importance matrix" in page.run_card.cost

    with_jobs(scene)


def test_what_exists_is_measured_and_the_result_goes_with_its_model(
    with_jobs: Callable[[Act], None], quantized: Path, smollm2: Path, tmp_path: Path
) -> None:
    text = tmp_path / "short.txt"
    whole = (resources_folder() / "quantize" / "guide-measure.txt").read_text("utf-8")
    text.write_text(whole[:6500], "utf-8")

    async def scene(desk: Desk) -> None:
        page = opened(desk)
        await ready(page)
        controller = page.controller
        page._change({"text": str(text)})
        await ready(page)
        assert page.run_card.measure.isEnabled()
        controller.measure([quantized])
        await until(lambda: page.run_card.made == "1 quant measured.", "the end")
        await until(lambda: len(page.results.rows) == 2, "both rows")
        source, made = page.results.rows
        assert (source.is_source, made.path) == (True, quantized)
        assert made.kld is not None
        assert 0 < made.facts["kld_error"] < made.kld
        table = page.results.table.rows_model
        assert any("±" in str(table.cell(1, column)[1]) for column in range(table.columnCount()))
        # Another model: what came of the last one, and its Chat button, are gone. Nothing larger is ticked.
        page.choose(str(smollm2))
        await until(lambda: "Nothing smaller is advised: Q4_1, 98 MB" in page.targets.advice, "the advice")
        assert page.run_card.made == ""
        await until(page.results.isHidden, "no results")
        assert controller.request.targets == ()
        assert not page.run_card.start.isEnabled()
        QTest.mouseClick(page.targets.more, Qt.MouseButton.LeftButton)
        table_of_targets = page.targets.table
        assert table_of_targets is not None
        await until(lambda: all(row.exact for row in table_of_targets.rows), "every size")
        assert not any(row.ticked or row.recommended for row in table_of_targets.rows)
        eight = next(row for row in table_of_targets.rows if row.name == "Q8_0")
        assert words.note(eight) == "Larger than the Q4_1 it is made of"
        # What is refused is said.
        controller.measure([quantized])
        await until(lambda: page.run_card._panel is not None, "the refusal")
        assert getattr(page.run_card._panel.error, "code", "") == "vocabulary_differs"  # type: ignore[union-attr]
        page.choose("slmdesk/desk-guide:F16")
        await until(lambda: page.run_card.made == "1 quant measured.", "its result again")

    with_jobs(scene)


def test_a_quantized_source_is_warned_of(with_jobs: Callable[[Act], None], quantized: Path) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.go_to("chat")
        desk.window.visit.quantize("maker/made:Q8_0")
        page = opened(desk)
        await until(lambda: "quantized already" in page.source.warning, "the warning")
        await until(lambda: page.source.select.currentText().startswith("made · Q8_0"), "it in the list")

    with_jobs(scene)


def test_a_broken_source_is_refused_with_what_helps(
    with_jobs: Callable[[Act], None], tmp_path: Path, desk_guide: Path
) -> None:
    broken = tmp_path / "cut-F16.gguf"
    broken.write_bytes(desk_guide.read_bytes()[:100_000])

    async def scene(desk: Desk) -> None:
        page = opened(desk)
        await ready(page)
        page.choose(str(broken))
        await until(lambda: page.source._panel is not None, "the panel")
        panel = page.source._panel
        assert panel is not None
        assert getattr(panel.error, "code", "") == "gguf_truncated"
        assert not page.run_card.start.isEnabled()
        page.choose("slmdesk/desk-guide:F16")
        await ready(page)
        assert page.source._panel is None

    with_jobs(scene)


def test_a_run_is_cancelled_and_leaves_nothing(
    with_jobs: Callable[[Act], None], tmp_path: Path, desk_guide: Path
) -> None:
    own = tmp_path / "mine" / "guide-F16.gguf"
    own.parent.mkdir()
    shutil.copy(desk_guide, own)

    async def scene(desk: Desk) -> None:
        page = opened(desk)
        await ready(page)
        page.choose(str(own))
        await until(lambda: page.controller.request.model == str(own), "the file")
        await ready(page)
        page._change({"targets": ("Q8_0", "Q4_0"), "output": str(tmp_path / "out")})
        await until(lambda: "Q4_0" in page.run_card.cost, "the plan")
        await ready(page)
        QTest.mouseClick(page.run_card.start, Qt.MouseButton.LeftButton)
        await until(lambda: bool(page.run_card.step_names), "the steps")
        page.run_card.pause_wanted.emit()
        await until(
            lambda: page.run_card.job is not None and page.run_card.job.state == "paused", "the pause"
        )
        page.run_card.cancel_wanted.emit()
        await until(
            lambda: page.run_card.job is not None and page.run_card.job.state == "cancelled", "the end"
        )
        assert page.run_card.step_names == [] or page.run_card._run.isHidden()
        await until(lambda: not leftovers(tmp_path / "out"), "an empty folder")

    with_jobs(scene)


def test_what_is_chosen_stands_first_where_the_table_is_folded_away(
    with_jobs: Callable[[Act], None],
) -> None:
    async def scene(desk: Desk) -> None:
        page = opened(desk)
        await ready(page)
        page.targets.fold(away=False)
        await until(lambda: page.targets.table is not None and page.targets.table.rows, "the table")
        tick(page, "Q8_0")
        tick(page, "Q4_0")
        page.targets.fold(away=True)
        await until(lambda: page.targets.advice == "Chosen: Q4_0.", "the choice")
        await until(lambda: page.run_card.cost.startswith("Q4_0: "), "its plan")
        assert any(each.text().startswith("Advised: Q8_0: ") for each in page.targets.findChildren(QLabel))

    with_jobs(scene)
