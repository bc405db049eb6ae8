"""The tour through the page of a first start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.gui.first_run import marker
from slmdesk.gui.first_run.first_run_page import FirstRunPage
from slmdesk.gui.tour.driver import NARROW, WIDE

if TYPE_CHECKING:
    from slmdesk.gui.tour.driver import Driver


async def welcome(driver: Driver) -> None:
    async with driver.step(
        "Welcome: the models folder, the machine, a model that fits, and one that is here"
    ) as step:
        driver.window.go_to(marker.PAGE)
        page = driver.window.page(marker.PAGE)
        assert isinstance(page, FirstRunPage)
        await driver.until(lambda: page.controller.known, "the recommendation")
        await driver.until(lambda: "core" in page.machine.text.text(), "the machine")
        step.saw += [page.folder.path, page.machine.text.text(), page.model.title.text()]
        await driver.shoot("welcome", WIDE, NARROW)
        await driver.click(page.built_in.start)
        driver.check(driver.window.current == "chat", "the built-in model does not open the chat.")


STEPS = (welcome,)
