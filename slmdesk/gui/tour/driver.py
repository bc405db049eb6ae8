"""What a step of the tour works with: hands, eyes and patience."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QObject, QPoint, QSize, Qt, QTimer
from PySide6.QtGui import QPainter, QPixmap
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.chat.chat_page import ChatPage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from slmdesk.application import Application
    from slmdesk.gui.app import Desk
    from slmdesk.gui.chat.items import MessageItem

WIDE = QSize(1280, 800)
NARROW = QSize(900, 600)
SMALLEST = QSize(720, 480)
LOOK_S = 0.02  # between two looks at what is awaited
SETTLE_S = 0.25  # for fades and timers to end before a picture is taken
LONG_S = 600.0  # for what computes: an answer, a quant
PATIENCE_S = 180.0  # a busy machine may be ten times slower than a quiet one; only a failure waits so long


class StepFailedError(SlmDeskError):
    """A step did not see what it should have seen."""

    def __init__(self, step: str, what: str) -> None:
        super().__init__(
            "tour_failed", f"The tour failed at “{step}”: {what}", "Look at the pictures taken so far."
        )


@dataclass(slots=True)
class TourStep:
    """One thing the tour did. `saw` is what it read in the window; `shots` are file names."""

    name: str
    seconds: float = 0.0
    saw: list[str] = field(default_factory=list)
    shots: list[str] = field(default_factory=list)
    passed: bool = False


class StrayWindows(QObject):
    """Notes every window that opens beside the main one and its popups: a widget shown before it had a parent."""

    def __init__(self, main: QObject) -> None:
        super().__init__(main)
        self._main = main
        self.seen: list[str] = []

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
            kinds = (Qt.WindowType.Popup, Qt.WindowType.ToolTip)
            if watched is not self._main and watched.windowType() not in kinds:
                self.seen.append(type(watched).__name__)
        return False


class Driver:
    """Drives one window.

    Attributes:
        desk: the running program.
        steps: what was done so far.
    """

    def __init__(self, desk: Desk, folder: Path, told: Callable[[TourStep], None]) -> None:
        self.desk = desk
        self.steps: list[TourStep] = []
        self._folder = folder
        self._told = told
        self._timers = QObject(desk.window)
        self._stray = StrayWindows(desk.window)
        desk.app.installEventFilter(self._stray)
        desk.window.hold_messages()  # a slow machine may need longer for a picture than a message stays

    @property
    def window(self) -> Any:
        return self.desk.window

    @property
    def application(self) -> Application:
        application: Application = self.window.application
        return application

    @property
    def chat(self) -> ChatPage:
        page = self.window.page("chat")
        assert isinstance(page, ChatPage)
        return page

    @property
    def messages(self) -> list[MessageItem]:
        """The messages shown now."""
        return self.chat.pane.messages.items

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[TourStep]:
        """Time a step and check that no error panel appeared that the step did not ask for."""
        step = TourStep(name)
        self.steps.append(step)
        before = len(self.window.errors_shown)
        began = time.perf_counter()
        try:
            yield step
            errors = self.window.errors_shown
            if len(errors) > before:
                raise StepFailedError(name, f"the window shows an error: {errors[0]}")
            if self._stray.seen:
                raise StepFailedError(name, f"windows flashed up: {', '.join(self._stray.seen)}.")
            step.passed = True
        except SlmDeskError as error:
            step.saw.append(error.message)
            raise
        finally:
            self.window.put_message_away()
            step.seconds = round(time.perf_counter() - began, 3)
            self._told(step)

    async def until(self, seen: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
        """Wait until `seen()`. Raises `StepFailedError` that says what did not come."""

        async def look() -> bool:
            return seen()

        await self.until_found(look, what, seconds)

    async def until_found(
        self, look: Callable[[], Awaitable[object]], what: str, seconds: float = PATIENCE_S
    ) -> None:
        """The same for what has to be awaited itself."""
        deadline = time.perf_counter() + seconds
        while not await look():
            if time.perf_counter() > deadline:
                raise StepFailedError(self.steps[-1].name, f"{what} did not come within {seconds:.0f} s.")
            await asyncio.sleep(LOOK_S)

    async def act(self, what: Callable[[], object]) -> None:
        """Let the event loop itself do what a person's hand does. QTest may turn Qt's loop inside a call (a moved
        mouse does), which must not happen within a task: asyncio refuses to enter another one there."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def run() -> None:
            try:
                what()
            except Exception as error:  # noqa: BLE001 - it belongs to the step that asked for it
                done.set_exception(error)
            else:
                done.set_result(None)

        QTimer.singleShot(0, self._timers, run)
        await done
        await asyncio.sleep(LOOK_S)

    def check(self, holds: bool, what: str) -> None:
        """Raises `StepFailedError` unless it holds."""
        if not holds:
            raise StepFailedError(self.steps[-1].name, what)

    async def click(self, widget: QWidget) -> None:
        """Press the left button in the middle of a widget a person can see."""
        await self.until(
            lambda: widget.isVisible() and widget.isEnabled(), f"{widget.accessibleName()}, to be pressed,"
        )
        await self.click_at(widget, QPoint(widget.width() // 2, widget.height() // 2))

    async def click_at(self, widget: QWidget, spot: QPoint) -> None:
        """Press the left button at a place of a widget."""
        await self.act(lambda: QTest.mouseClick(widget, Qt.MouseButton.LeftButton, pos=spot))

    async def point_at(self, widget: QWidget, spot: QPoint) -> None:
        """Move the pointer to a place of a widget."""
        await self.act(lambda: QTest.mouseMove(widget, spot))

    async def type(self, widget: QWidget, text: str) -> None:
        """Type into a widget, key by key."""
        await self.act(lambda: QTest.keyClicks(widget, text))

    async def key(
        self,
        key: Qt.Key,
        modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
        widget: QWidget | None = None,
    ) -> None:
        """Press one key in a widget, or in the window."""
        target = widget or QApplication.activePopupWidget() or self.window
        if target.isWindow() and target is not self.window:
            inner: QWidget | None = target.focusWidget()
            target = target if inner is None else inner
        await self.act(lambda: QTest.keyClick(target, key, modifier))

    async def shoot(self, name: str, *sizes: QSize) -> None:
        """Take pictures in light and dark, at each size (1280×800 unless given)."""
        choice = self.desk.theme.choice
        number = len(self.steps)
        for size in sizes or (WIDE,):
            self.window.resize(size)
            for scheme in ("light", "dark"):
                self.desk.theme.set_choice(scheme)
                await asyncio.sleep(SETTLE_S)
                file = f"{number:02}-{name}-{size.width()}x{size.height()}-{scheme}.png"
                self.check(self._picture().save(str(self._folder / file)), f"{file} cannot be written.")
                self.steps[-1].shots.append(file)
        self.desk.theme.set_choice(choice)
        if self.window.size() != WIDE:
            self.window.resize(WIDE)
            await asyncio.sleep(SETTLE_S)

    def _picture(self) -> QPixmap:
        """The window as it is seen, with an open popup over it."""
        picture: QPixmap = self.window.grab()
        popup = QApplication.activePopupWidget()
        if popup is not None:
            painter = QPainter(picture)
            painter.drawPixmap(popup.pos() - self.window.mapToGlobal(QPoint(0, 0)), popup.grab())
            painter.end()
        return picture

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(step) for step in self.steps]
