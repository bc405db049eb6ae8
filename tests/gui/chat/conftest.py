"""A real window with the Chat page: real service, real engine, real database, no screen."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication, QWidget

from slmdesk.application import Application
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import HOME_VARIABLE, Paths
from slmdesk.core.settings import Settings
from slmdesk.core.state import StateFile
from slmdesk.gui.chat.chat_page import ChatPage
from slmdesk.gui.chat.items import MessageItem
from slmdesk.gui.chat.message_view import MessageView
from slmdesk.gui.chat.typesetter import Typesetter
from slmdesk.gui.live_settings import LiveSettings
from slmdesk.gui.page import Remedy
from slmdesk.gui.theme import Theme
from slmdesk.gui.window import MainWindow, PageSpec

T = TypeVar("T")
PATIENCE_S = 60.0
ENDLESS = {"chat.temperature": 2.0, "chat.top_k": 0, "chat.top_p": 1.0, "chat.min_p": 0.0}


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for `condition`; fails the test when it does not come true in a minute."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited in vain for {what or condition}")
        await asyncio.sleep(0.01)


class Deeds:
    """Keeps what was to be done with messages, for lists without a controller."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []

    def regenerate(self, message_id: int) -> None:
        self.done.append(("regenerate", message_id))

    def regenerate_with(self, message_id: int, button: QWidget) -> None:
        del button
        self.done.append(("other", message_id))

    def fork(self, message_id: int) -> None:
        self.done.append(("fork", message_id))

    def continue_from(self, message_id: int) -> None:
        self.done.append(("continue", message_id))

    def edit(self, message_id: int, text: str) -> None:
        self.done.append(("edit", message_id, text))

    def select_branch(self, message_id: int, branch: int) -> None:
        self.done.append(("branch", message_id, branch))

    def decide(self, call_id: str, decision: str) -> None:
        self.done.append(("decide", call_id, decision))

    def mend(self, error: SlmDeskError) -> Remedy | None:
        del error
        return None


class Desk:
    """A window with the Chat page, and short ways to what a person does and sees in it."""

    def __init__(self, theme: Theme, paths: Paths, application: Application) -> None:
        settings = Settings(paths.settings_file)
        specs = [PageSpec("chat", "Chat", "chat", ChatPage)]
        self.errors: list[BaseException] = []
        self.window = MainWindow(theme, LiveSettings(settings), StateFile(paths.state_file), specs)
        self.window.resize(1280, 800)
        self.window.show()
        self.application = application

    async def start(self) -> None:
        await self.application.chats.open()
        show_error = self.window.show_error

        def remember(error: BaseException, *rest: Any) -> None:
            self.errors.append(error)
            show_error(error, *rest)

        self.window.show_error = remember  # type: ignore[method-assign]
        self.window.attach(self.application)
        await until(lambda: self.controller.entries, "the list of models")

    async def close(self) -> None:
        await self.window.shut_down()
        await self.application.close()
        self.window.close_now()

    @property
    def page(self) -> ChatPage:
        page = self.window.findChild(ChatPage)
        assert page is not None
        return page

    @property
    def controller(self) -> Any:
        return self.page.controller

    def overhear(self, shown: str, hear: Callable[..., object]) -> Callable[[], None]:
        """Call `hear` too when the page's method `shown` is called, until what is returned is called."""
        page, shows = self.page, getattr(self.page, shown)

        def both(*what: Any) -> None:
            shows(*what)
            hear(*what)

        setattr(page, shown, both)
        return lambda: setattr(page, shown, shows)

    def hear_text(self, hear: Callable[[str], object]) -> Callable[[], None]:
        """Call `hear` with each piece of an answer's text as it comes, until what is returned is called."""
        heard: dict[int, int] = {}

        def more(message_id: int) -> None:
            text = next(item.text for item in self.controller.items() if item.id == message_id)
            new, heard[message_id] = text[heard.get(message_id, 0) :], len(text)
            hear(new)

        return self.overhear("show_more", more)

    @property
    def composer(self) -> Any:
        return self.page.pane.composer

    @property
    def messages(self) -> Any:
        return self.page.pane.messages

    @property
    def items(self) -> list[MessageItem]:
        return list(self.page.pane.items)

    def view(self, number: int) -> MessageView:
        """The widget of a message, counted from the first (or from the end)."""
        view = self.messages.view_of(self.items[number].id)
        assert isinstance(view, MessageView)
        return view

    async def ask(self, text: str) -> None:
        """Type and press Enter; returns when the answer has begun to be waited for."""
        before = self.controller.running
        self.composer.field.put(text)
        self.composer.field.submitted.emit()
        await until(
            lambda: self.controller.running - before and self.composer.text == "", "the message to be stored"
        )

    async def mid_answer(self, text: str, words: int = 3) -> list[str]:
        """Ask and return when some words of the answer have come and more are to come; the list goes on growing.

        An answer may end by chance before that; then the question is asked again.
        """
        await self.endless()
        for _ in range(20):
            begun: list[str] = []
            stop = self.hear_text(begun.append)
            await self.ask(text)
            await until(lambda begun=begun: len(begun) >= words or not self.controller.running, "some words")
            if self.controller.running:
                return begun
            stop()
        pytest.fail("twenty answers ended after a few words")

    async def endless(self) -> None:
        """From now on answers are long: every token is as likely as any other."""
        for key, value in ENDLESS.items():
            await asyncio.to_thread(self.application.settings.set, key, value)

    async def calm(self) -> None:
        """Undo `endless`."""
        for key in ENDLESS:
            await asyncio.to_thread(self.application.settings.reset, key)

    async def answered(self) -> None:
        """Wait for the end of the answer in the conversation shown, and until it is all on the screen."""
        await until(lambda: self.controller.current not in self.controller.running, "the end of the answer")
        await until(
            lambda: self.items and not self.items[-1].live and self.page.pane.typesetter.idle, "the answer"
        )

    def shown_text(self, number: int = -1) -> str:
        """The words on the screen of a message."""
        return self.view(number).body.words()


@pytest.fixture(scope="session")
def chat_home(tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str]) -> Iterator[Path]:
    """One home for all tests here, so that its service starts once; ended after the last of them."""
    home = tmp_path_factory.mktemp("chat") / "home"
    lasting_homes.add(str(home))
    yield home
    for process in psutil.Process().children(recursive=True):
        try:
            if process.environ().get(HOME_VARIABLE) == str(home):
                process.terminate()
        except psutil.Error:
            continue


@pytest.fixture(scope="session")
def theme(qapp: QApplication) -> Theme:
    qapp.setQuitOnLastWindowClosed(False)
    return Theme(qapp, choice="light", reduced_motion=True)


@pytest.fixture
def typesetter(theme: Theme) -> Iterator[Typesetter]:
    typesetter = Typesetter(theme)
    yield typesetter
    typesetter.close()


Play = Callable[[Callable[[Desk], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def play(
    qapp: QApplication, theme: Theme, chat_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Play]:
    """Runs a scene in a window with an empty list of conversations, on the event loop the program uses."""
    from qasync import QEventLoop

    monkeypatch.setenv(HOME_VARIABLE, str(chat_home))
    paths = Paths.resolve()
    paths.ensure()
    loop = QEventLoop(qapp)
    problems: list[str] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(str(context)))
    asyncio.set_event_loop(loop)

    async def run(scene: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
        application = Application.build()
        await application.chats.open()
        await application.database.run(lambda connection: connection.execute("DELETE FROM conversations"))
        await application.database.run(lambda connection: connection.execute("DELETE FROM drafts"))
        desk = Desk(theme, paths, application)
        try:
            await desk.start()
            await scene(desk)
        finally:
            await desk.calm()
            await desk.close()
        assert all(isinstance(error, SlmDeskError) for error in desk.errors), desk.errors

    def start(scene: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
        loop.run_until_complete(run(scene))

    yield start
    loop.close()
    asyncio.set_event_loop(None)
    assert not problems
