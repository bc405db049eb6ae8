"""The tour through the Quantize page: the built-in model made smaller, measured, drawn and compared."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint

from slmdesk.gui.quantize.quantize_page import QuantizePage
from slmdesk.gui.tour.driver import LONG_S, NARROW, SETTLE_S, WIDE

if TYPE_CHECKING:
    from slmdesk.gui.tour.driver import Driver

TARGETS = ("Q8_0", "Q4_0")


def page_of(driver: Driver) -> QuantizePage:
    page = driver.window.page("quantize")
    assert isinstance(page, QuantizePage)
    return page


async def advice(driver: Driver) -> None:
    async with driver.step("Quantize recommends a target for this machine, and says why") as step:
        driver.window.go_to("quantize")
        page = page_of(driver)
        await driver.until(page.run_card.start.isEnabled, "the recommendation")
        step.saw += [page.source.facts, page.targets.advice, page.run_card.cost]
        await driver.shoot("quantize", WIDE, NARROW)


async def targets(driver: Driver) -> None:
    async with driver.step("Every target with its size, time and verdict, before anything runs") as step:
        page = page_of(driver)
        await driver.click(page.targets.more)
        await driver.until(lambda: page.targets.options is not None, "the options")
        table = page.targets.table
        assert table is not None
        await driver.until(lambda: all(row.exact for row in table.rows), "the sizes", LONG_S)
        await driver.shoot("quantize-targets", WIDE, NARROW)
        bar = page.area.verticalScrollBar()
        bar.setValue(bar.maximum())
        await driver.shoot("quantize-options", WIDE)
        bar.setValue(0)
        for name in TARGETS:
            place_in = next(at for at, row in enumerate(table.rows) if row.name == name)
            if not table.rows[place_in].ticked:
                spot = table.visualRect(table.model().index(place_in, 0)).center()
                await driver.click_at(table.viewport(), spot)
        ticked = [row.name for row in table.rows if row.ticked]
        driver.check(ticked == list(TARGETS), f"{ticked} are ticked.")
        await driver.until(page.run_card.start.isEnabled, "the plan")
        step.saw.append(page.run_card.cost)
        await driver.click(page.targets.more)


async def run(driver: Driver) -> None:
    async with driver.step("One click: two quants, checked and measured") as step:
        page = page_of(driver)
        await driver.click(page.run_card.start)
        await driver.until(lambda: len(page.run_card.step_names) > 3, "the steps", LONG_S)
        await driver.shoot("quantize-runs", WIDE)
        await driver.until(lambda: bool(page.run_card.made), "the end of the run", LONG_S)
        await driver.until(lambda: page.results.chart is not None, "the chart", LONG_S)
        await driver.until(
            lambda: {row.quant for row in page.results.rows if row.speed} == set(TARGETS), "the figures"
        )
        step.saw.append(page.run_card.made)
        await driver.shoot("quantize-results", WIDE)
        driver.window.resize(NARROW)
        await asyncio.sleep(SETTLE_S)
        page.to_results()
        await driver.shoot("quantize-results", NARROW)


async def hover(driver: Driver) -> None:
    async with driver.step("A dot tells its figures, and the table follows") as step:
        page = page_of(driver)
        bar = page.area.verticalScrollBar()
        bar.setValue(bar.maximum())
        chart = page.results.chart
        assert chart is not None
        for row in chart.rows:
            spot = chart.spot(row)
            await driver.point_at(chart.canvas, QPoint(1, 1))
            await driver.point_at(chart.canvas, spot)
            await driver.until(lambda row=row: chart.told == row.quant, f"the figures of {row.quant}")  # type: ignore[misc]
            step.saw.append(chart.told)
        await driver.shoot("quantize-hover", WIDE)


async def compare(driver: Driver) -> None:
    async with driver.step("Two quants on one prompt, the first differing token marked") as step:
        page = page_of(driver)
        await driver.click(page.results.compare)
        sheet = page.sheets.compare
        assert sheet is not None
        await driver.click(sheet.ask)
        await driver.until(lambda: sheet.ask.busy, "the question")
        await driver.until(lambda: not sheet.ask.busy, "both answers", LONG_S)
        driver.check(all(side.answer for side in sheet.sides), "an answer is missing.")
        step.saw += [sheet.verdict.text(), *(side.answer for side in sheet.sides)]
        await driver.shoot("quantize-compare", WIDE, NARROW)
        page.close_compare()
        driver.window.go_to("chat")


STEPS = (advice, targets, run, hover, compare)
