"""The tour through what stands around the pages: palette, settings, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.settings.settings_page import SettingsPage
from slmdesk.gui.tour.driver import NARROW, WIDE

if TYPE_CHECKING:
    from slmdesk.gui.tour.driver import Driver

CONTROL = Qt.KeyboardModifier.ControlModifier


async def palette(driver: Driver) -> None:
    async with driver.step("The palette lists every action") as step:
        await driver.key(Qt.Key.Key_K, CONTROL)
        shown = driver.window.palette_of_actions()
        await driver.until(shown.isVisible, "the palette")
        step.saw += shown.titles
        await driver.shoot("palette", WIDE, NARROW)
        await driver.key(Qt.Key.Key_Escape, widget=shown.focusWidget() or shown)
        await driver.until(lambda: not shown.isVisible(), "the palette's end")


async def settings(driver: Driver) -> None:
    async with driver.step("A setting is found, changed at once, and undone") as step:
        await driver.key(Qt.Key.Key_Comma, CONTROL)
        await driver.until(lambda: driver.window.current == "settings", "the settings")
        await driver.shoot("settings", WIDE, NARROW)
        page = driver.window.page("settings")
        assert isinstance(page, SettingsPage)
        key = "chat.temperature"
        before = driver.application.settings.get(key)
        page.filter("temperature")
        page.controller.change(key, 0.3)
        await driver.until(lambda: bool(driver.window.message), "the message")
        driver.check(driver.application.settings.get(key) == 0.3, "the new value is not in force.")
        step.saw.append(driver.window.message)
        await driver.shoot("setting-changed")
        driver.check(driver.window.undo(), "the toast offers no Undo.")
        await driver.until(lambda: driver.application.settings.get(key) == before, "the old value")
        page.filter("")
        await driver.key(Qt.Key.Key_1, CONTROL)
        await driver.until(lambda: driver.window.current == "chat", "the Chat page")


async def about(driver: Driver) -> None:
    async with driver.step("About: version and licences"):
        driver.window.go_to("about")
        await driver.shoot("about")
        driver.window.go_to("chat")


async def error_panel(driver: Driver) -> None:
    async with driver.step("An error says what happened and what to do, and the window goes on") as step:
        error = SlmDeskError(
            "tour_example",
            "This is what an error looks like: one sentence that says what happened.",
            "A second one says what to do next. This one can be closed.",
            details="Technical details are folded away here.",
        )
        driver.window.show_error(error)
        await driver.shoot("error")
        step.saw.append(error.message)
        from slmdesk.gui.widgets.panels import ErrorPanel

        for panel in driver.window.findChildren(ErrorPanel):
            if panel.error is error:
                panel.put_away()
        await driver.until(lambda: error not in driver.window.errors_shown, "the panel's end")


STEPS = (palette, settings, about, error_panel)
