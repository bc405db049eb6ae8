"""The tour through Catalog, Downloads and Library. What needs a hub is done only where one is given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint

from slmdesk.gui.catalog.catalog_page import CatalogPage
from slmdesk.gui.downloads.downloads_page import DownloadsPage
from slmdesk.gui.library.library_page import LibraryPage
from slmdesk.gui.theme import SPACE
from slmdesk.gui.tour.chat_steps import QUESTION, answered, ask
from slmdesk.gui.tour.driver import NARROW, SMALLEST, WIDE
from slmdesk.gui.widgets.buttons import Button

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.tour.driver import Driver

HUB_VARIABLE = "SLMDESK_TOUR_HUB"
"""Set when the tour was given a hub of its own, which holds Desk Guide's quants."""
SOUGHT = "desk-guide"
BUILT_IN = 40
"""At least so many models are known without a network."""


def _catalog(driver: Driver) -> CatalogPage:
    page = driver.window.page("catalog")
    assert isinstance(page, CatalogPage)
    return page


def _library(driver: Driver) -> LibraryPage:
    page = driver.window.page("library")
    assert isinstance(page, LibraryPage)
    return page


def _button(driver: Driver, widget: QWidget, beginning: str) -> Button:
    for each in widget.findChildren(Button):
        if each.isVisibleTo(widget) and each.text().startswith(beginning):
            return each
    driver.check(False, f"there is no button “{beginning}”.")
    raise AssertionError


async def catalog(driver: Driver) -> None:
    async with driver.step(
        "The catalog without a network: the built-in list, filters, and a line that says so"
    ) as step:
        driver.window.go_to("catalog")
        page = _catalog(driver)
        await driver.until(lambda: len(page.model.entries) > BUILT_IN, "the built-in list")
        await driver.shoot("catalog", WIDE, NARROW, SMALLEST)
        await driver.click(page.filters.tiers["micro"])
        await driver.until(
            lambda: bool(page.model.entries) and all(one.tier == "micro" for one in page.model.entries),
            "only micro models",
        )
        step.saw += [entry.id for entry in page.model.entries[:5]]
        await driver.click(page.filters.tiers["micro"])


async def advice(driver: Driver) -> None:
    async with driver.step("Three questions make a short list for this machine") as step:
        page = _catalog(driver)
        page.help_choose()
        sheet = page.advice
        assert sheet is not None
        await driver.until(
            lambda: any(each.text() == "Show" for each in sheet.findChildren(Button)), "the short list"
        )
        step.saw += [each.accessibleName() for each in sheet.findChildren(Button) if each.text() == "Show"]
        await driver.shoot("advice", WIDE, NARROW)
        await driver.click(_button(driver, sheet, "Back to the catalog"))


async def download(driver: Driver) -> None:
    if not os.environ.get(HUB_VARIABLE):
        return
    async with driver.step("Three clicks from a search result to a chat with it") as step:
        page = _catalog(driver)
        page.search.clear()
        await driver.type(page.search, SOUGHT)
        await driver.until(
            lambda: any(SOUGHT in entry.name.lower() for entry in page.model.entries), "the model"
        )
        row = next(i for i, entry in enumerate(page.model.entries) if SOUGHT in entry.name.lower())
        at = page.results.visualRect(page.model.index(row)).topLeft() + QPoint(SPACE.huge, SPACE.medium)
        await driver.click_at(page.results.viewport(), at)
        await driver.until(
            lambda: page.detail.page is not None and page.detail.page.best is not None, "its forecast"
        )
        await driver.shoot("model", WIDE, NARROW, SMALLEST)
        await driver.click(_button(driver, page.detail, "Download"))
        await driver.until(
            lambda: any(
                each.text() == "Chat" and each.isVisible() for each in page.detail.findChildren(Button)
            ),
            "the file",
        )
        await driver.shoot("model-here")
        await driver.click(_button(driver, page.detail, "Chat"))
        quant = page.detail.page.best.quant if page.detail.page and page.detail.page.best else ""
        await driver.until(lambda: driver.window.current == "chat" and driver.chat.pane.empty, "the new chat")
        await driver.until(lambda: quant in driver.chat.pane.composer.model_button.text(), "the model's name")
        step.saw.append(driver.chat.pane.composer.model_button.text())
        turns = len(driver.messages) // 2
        await ask(driver, QUESTION)
        await answered(driver, turns + 1)
        step.saw.append(driver.messages[-1].message.text)
        await driver.shoot("downloaded-model-answers", WIDE, NARROW)


async def downloads(driver: Driver) -> None:
    async with driver.step("Downloads: what came, or where to find a model") as step:
        driver.window.go_to("downloads")
        page = driver.window.page("downloads")
        assert isinstance(page, DownloadsPage)
        await driver.until(lambda: driver.window.jobs.known, "the jobs")
        step.saw += [f"{row.job.title}: {row.job.state}" for row in page.rows]
        await driver.shoot("downloads", WIDE, NARROW, SMALLEST)


async def library(driver: Driver) -> None:
    async with driver.step("The library: what is on this machine, and whether it is whole") as step:
        driver.window.go_to("library")
        page = _library(driver)
        await driver.until(lambda: page.models.count > 0, "the models")
        page.open_model(page.models.shown[-1].id)
        step.saw += [model.id for model in page.models.shown]
        await driver.shoot("library", WIDE, NARROW, SMALLEST)
        mine = next((m for m in page.models.shown if not any(file.shipped for file in m.files)), None)
        if mine is not None:
            page.list.remove_wanted.emit(mine.id)
            await driver.until(lambda: page.models.row_of(mine.id) < 0, "the model to go")
            step.saw.append(driver.window.message)
            driver.check(driver.window.undo(), "the toast offers no Undo.")
            await driver.until(lambda: page.models.row_of(mine.id) >= 0, "the model to come back")
        driver.window.go_to("chat")


STEPS = (catalog, advice, download, downloads, library)
