"""The tour through the page of a first start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.gui.first_run import marker
from slmdesk.gui.first_run.place import FirstRunPlace
from slmdesk.gui.tour.driver import NARROW, WIDE

if TYPE_CHECKING:
    from slmdesk.gui.tour.driver import Driver


async def welcome(driver: Driver) -> None:
    async with driver.step(
        "Welcome: the models folder, the machine, a model that fits, and one that is here"
    ) as step:
        driver.window.go_to(marker.PLACE)
        place = driver.window.place(marker.PLACE)
        assert isinstance(place, FirstRunPlace)
        await driver.until(lambda: place.known, "the recommendation")
        await driver.until(lambda: "core" in place.machine.text.text(), "the machine")
        step.saw += [place.folder.path, place.machine.text.text(), place.model.title.text()]
        await driver.shoot("welcome", WIDE, NARROW)
        await driver.click(place.built_in.start)
        driver.check(driver.window.current == "chat", "the built-in model does not open the chat.")


STEPS = (welcome,)
