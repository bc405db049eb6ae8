"""Starting the window: what is needed for the first paint first, everything else after it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from PySide6.QtCore import QCoreApplication, QEvent, QEventLoop, QObject, Qt, QTimer
from PySide6.QtGui import QFileOpenEvent
from PySide6.QtWidgets import QApplication

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.core.state import StateFile
from slmdesk.engines.registry import KINDS
from slmdesk.gui.closing import Closing
from slmdesk.gui.collector import MainThreadCollector
from slmdesk.gui.first_run import marker
from slmdesk.gui.live_settings import LiveSettings
from slmdesk.gui.single import SingleInstance
from slmdesk.gui.theme import Theme
from slmdesk.gui.window import MainWindow, PageSpec

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from slmdesk.application import Application
    from slmdesk.gui.page import Page, WindowServices
    from slmdesk.gui.theme.theme import Choice

CLOSE_SECONDS = 10.0

EARLY: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "chat": (
        ("chat.new", "New chat", "Ctrl+N", "add"),
        ("chat.model", "Choose a model", "Ctrl+Shift+M", "model"),
        ("chat.search", "Search conversations", "", "search"),
    ),
    "catalog": (
        ("catalog.find", "Find a model", "Ctrl+Shift+F", "search"),
        ("catalog.advise", "Help me choose a model", "", "idea"),
    ),
    "library": (
        ("library.file", "Import a model file", "", "import"),
        ("library.folder", "Import a folder of models", "", "folder-add"),
        ("library.verify", "Verify all models", "", "verified"),
        ("library.duplicates", "Look for equal files", "", "merge"),
    ),
    "downloads": (
        ("downloads.hold", "Pause or resume all downloads", "", "pause"),
        ("downloads.clear", "Clear the list of finished downloads", "", "clear"),
    ),
    "quantize": (
        ("quantize.start", "Quantize what is chosen", "", "quantize"),
        ("quantize.measure", "Measure quants that exist", "", "speed"),
        ("quantize.compare", "Compare two quants on one prompt", "", "compare"),
        ("quantize.tools", "Split, merge, convert, importance matrices, adapters", "", "tune"),
    ),
    "settings": (("settings.find", "Find a setting", "", "search"),),
}
"""What pages offer before they are built: id, title, shortcut and icon of their own actions."""

PARTS = (
    "sqlite3",
    "slmdesk.core.database",
    "slmdesk.library.library",
    "slmdesk.serving.connector",
    "slmdesk.chat.store",
    "slmdesk.chat.chats",
    "slmdesk.core.secrets",
    "slmdesk.hub.access",
    "slmdesk.core.jobs.job_queue",
)
"""What the rooms behind every page import, in pieces that take some milliseconds each."""


def run(argv: list[str]) -> int:
    """Open the window and stay until it is closed. A second start brings the first window up and returns 0.

    A model's file among the arguments is what the window opens with: a chat with it.
    Returns the exit code: 1 when there is no home to work in, or the first window does not answer.
    """
    app = qt_application(argv)
    file = next((word for word in argv[1:] if KINDS.runs(PurePath(word))), "")
    file = os.path.abspath(file) if file else ""  # noqa: PTH100 - links stay as they are named
    try:
        paths = Paths.resolve()
        paths.ensure()
    except SlmDeskError as error:
        return _show_fatal(app, error)
    single = SingleInstance(paths.runtime, app)
    if not single.first():
        if single.ask_first(file):
            return 0
        sys.stderr.write("error: SLM Desk is running already, but its window does not answer.\n")
        return 1
    try:
        # Who comes with a file has a model to begin with.
        welcome = not file and marker.is_first_start(paths, StateFile(paths.state_file))
        desk = Desk(app, paths, single, welcome=welcome)
        if file:
            desk.open_file(file)
        return desk.run()
    finally:
        single.release()


class Desk(QObject):
    """The running program: theme, window, application and event loop, in the order they are needed.

    With `welcome` it begins with the page of a first start.
    """

    def __init__(
        self, app: QApplication, paths: Paths, single: SingleInstance, *, welcome: bool = False
    ) -> None:
        super().__init__(app)
        self.app = app
        self._single = single
        self._exit_code = 0
        self._closed: asyncio.Future[None] | None = None
        self._torn_off = False
        self._ended = False
        self.application: Application | None = None
        self._companion: Callable[[], Coroutine[Any, Any, None]] | None = None
        settings = Settings(paths.settings_file)
        self.live = LiveSettings(settings, self)
        self.theme = Theme(
            app,
            choice=cast("Choice", settings.get("appearance.theme")),
            text_size=settings.get("appearance.text_size"),
            reduced_motion=settings.get("appearance.reduced_motion"),
        )
        state = StateFile(paths.state_file)
        begin = marker.PAGE if welcome else ""
        self.window = MainWindow(self.theme, self.live, state, self._specs(), begin=begin)
        self.closing = Closing(self.window, self._close)
        self.window.close_wanted.connect(self.closing.wanted)
        self.live.changed.connect(self._setting_changed)
        self.window.strip.offline_wanted.connect(self._switch_network)
        self._show_network()
        sys.excepthook = self._uncaught

    def run(self, companion: Callable[[], Coroutine[Any, Any, None]] | None = None) -> int:
        """Show the window, then load the rest and run until the window is closed.

        `companion` is started once everything is there (the tour drives the window with it).
        """
        self._companion = companion
        self.window.show()
        # One round of events paints the window; the event loop, the database and the rest come after that.
        self.app.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
        import asyncio

        from qasync import QEventLoop as AsyncLoop

        loop = AsyncLoop(self.app)
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(self._loop_failed)
        self.app.aboutToQuit.connect(self._quit_by_others)
        try:
            with MainThreadCollector(self), loop:
                loop.run_until_complete(self._live())
        except RuntimeError:
            if not self._torn_off:
                raise
            # Nothing can be shown any more, and no coroutine goes on. Drafts and answers are on the disk.
            sys.stderr.write(
                "error: The display that the window was on is gone.\nStart SLM Desk again; nothing is lost.\n"
            )
            return 1
        finally:
            asyncio.set_event_loop(None)
            sys.excepthook = sys.__excepthook__
        return self._exit_code

    def _quit_by_others(self) -> None:
        """Qt's loop ends. Before our own end that happens only where the connection to the display broke."""
        self._torn_off = not self._ended

    def open_file(self, path: str) -> None:
        """Begin a chat with the model in that file."""
        self.window.visit.chat_with(path)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """macOS tells of files that were double-clicked by an event."""
        if event.type() == QEvent.Type.FileOpen and isinstance(event, QFileOpenEvent):
            self.open_file(event.file())
            return True
        return super().eventFilter(watched, event)

    async def _live(self) -> None:
        import asyncio

        self._closed = asyncio.get_running_loop().create_future()
        self._end_with_signals()
        self._single.raised.connect(self.window.bring_up)
        self._single.file_wanted.connect(self.open_file)
        if sys.platform == "darwin":
            self.app.installEventFilter(self)
        self._single.listen()
        self.application = application = await _build_application()
        self._start_logging(application)
        if not self._closed.done():
            self._attach(application)
            if self._companion is not None:
                self.window.run(self._companion(), "the companion")
        await self._closed
        await self._end()

    def _attach(self, application: Application) -> None:
        from slmdesk.gui.commands import Commands
        from slmdesk.gui.downloads.when_ready import WhenReady
        from slmdesk.gui.library.housekeeping import Housekeeping
        from slmdesk.gui.self_testing import SelfTesting
        from slmdesk.gui.status_poll import StatusPoll

        self.window.actions_known.add(Commands(self.window, self.live).all())
        self.live.follow(application.settings)
        self.window.attach(application)
        self._when_ready = WhenReady(self.window, self)
        self._housekeeping = Housekeeping(self.window, self)
        self._self_testing = SelfTesting(self.window)
        self._poll = StatusPoll(self.window, application)
        self._poll.start()
        self.window.run(self._first_look(application), "looking at the disks")
        self.window.near.connect(self._load_ahead)

    async def _first_look(self, application: Application) -> None:
        """Whatever page is shown first, what is wrong with the disks is said at once."""
        for problem in await application.first_look():
            self.window.show_error(problem, everywhere=True)

    def _load_ahead(self, page_id: str) -> None:
        """Import a page beside the event loop when the pointer comes near it: that takes longer than a frame."""
        module = f"slmdesk.gui.{page_id}.{page_id}_page"
        if module not in sys.modules:
            threading.Thread(target=_import_quietly, args=(module,), name="ahead", daemon=True).start()

    async def _end(self) -> None:
        """Everything the window began ends, and what takes too long is left behind."""
        import asyncio

        self.window.hide()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.window.shut_down()
                if self.application is not None:
                    await self.application.close()
        except TimeoutError:
            sys.stderr.write("warning: closing took too long and was cut short.\n")
        self.live.stop()
        self._ended = True
        self.window.close_now()

    def _close(self) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        elif self._closed is None:
            # Closed before the event loop runs: come back as soon as it does.
            QTimer.singleShot(0, self._close)

    def _end_with_signals(self) -> None:
        def end(number: int, frame: Any) -> None:
            del frame
            self._exit_code = 128 + number if number == signal.SIGINT else 0
            self._close()

        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, end)
        # Python runs signal handlers only between bytecodes; without this an idle window would hear them late.
        self._pulse = QTimer(self)
        self._pulse.setInterval(500)
        self._pulse.timeout.connect(lambda: None)
        self._pulse.start()

    def _start_logging(self, application: Application) -> None:
        from slmdesk.core import logs

        logs.configure(application.paths, "window", application.settings.get("logs.level"))

    def _setting_changed(self, key: str, value: object) -> None:
        match key:
            case "appearance.theme":
                self.theme.set_choice(cast("Choice", value))
            case "appearance.text_size":
                self.theme.set_text_size(cast("int", value))
            case "appearance.reduced_motion":
                self.theme.set_reduced_motion(reduced=bool(value))
            case "network.offline":
                self._show_network()
                self.window.network_changed()

    def _show_network(self) -> None:
        locked = self.live.settings.source("network.offline") == "environment"
        self.window.strip.set_offline(offline=self.live.get("network.offline"), locked=locked)

    def _switch_network(self, offline: bool) -> None:
        self.window.actions_known.run("offline.on" if offline else "offline.off")

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """An exception nobody expected, from a slot or a callback: report it, and go on."""
        del trace
        from slmdesk.gui.report import log_uncaught

        if issubclass(kind, KeyboardInterrupt):
            self._close()
            return
        if not isinstance(error, SlmDeskError):
            log_uncaught(error, "the window")
        if not self._ended:
            self.window.show_error(error)

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        error = context.get("exception")
        if isinstance(error, BaseException):
            self._uncaught(type(error), error, error.__traceback__)
        else:
            import logging

            logging.getLogger("slmdesk.gui").error("%s", context.get("message", "an error without words"))

    def _specs(self) -> list[PageSpec]:
        return [
            PageSpec("chat", "Chat", "chat", _chat, early=EARLY["chat"]),
            PageSpec("catalog", "Catalog", "catalog", _catalog, early=EARLY["catalog"]),
            PageSpec("library", "Library", "library", _library, early=EARLY["library"]),
            PageSpec("downloads", "Downloads", "download", _downloads, early=EARLY["downloads"]),
            PageSpec("quantize", "Quantize", "quantize", _quantize, early=EARLY["quantize"]),
            PageSpec(
                "settings",
                "Settings",
                "settings",
                _settings,
                foot=True,
                shortcut="Ctrl+,",
                early=EARLY["settings"],
            ),
            PageSpec("about", "About SLM Desk", "about", _about, listed=False),
            PageSpec("deleted", "Recently deleted", "delete", _deleted, listed=False),
            PageSpec(marker.PAGE, "Welcome to SLM Desk", "idea", _welcome, listed=False),
        ]


def _import_quietly(module: str) -> None:
    with suppress(ImportError):  # a page that is no package of its own
        import_module(module)


def _chat(services: WindowServices) -> Page:
    from slmdesk.gui.chat.chat_page import ChatPage

    return ChatPage(services)


def _catalog(services: WindowServices) -> Page:
    from slmdesk.gui.catalog.catalog_page import CatalogPage

    return CatalogPage(services)


def _library(services: WindowServices) -> Page:
    from slmdesk.gui.library.library_page import LibraryPage

    return LibraryPage(services)


def _downloads(services: WindowServices) -> Page:
    from slmdesk.gui.downloads.downloads_page import DownloadsPage

    return DownloadsPage(services)


def _quantize(services: WindowServices) -> Page:
    from slmdesk.gui.quantize.quantize_page import QuantizePage

    return QuantizePage(services)


def _settings(services: WindowServices) -> Page:
    from slmdesk.gui.settings.settings_page import SettingsPage

    return SettingsPage(services)


def _deleted(services: WindowServices) -> Page:
    from slmdesk.gui.deleted.deleted_page import DeletedPage

    return DeletedPage(services)


def _about(services: WindowServices) -> Page:
    from slmdesk.gui.about.about_page import AboutPage

    return AboutPage(services)


def _welcome(services: WindowServices) -> Page:
    from slmdesk.gui.first_run.first_run_page import FirstRunPage

    return FirstRunPage(services)


async def _build_application() -> Application:
    """Import and build what lies behind the window, with a breath for the window between the pieces.

    Not in a thread: imports hold the interpreter's lock anyway, and what a second thread allocates lies in a heap
    of its own, 3 MB for nothing.
    """
    import asyncio

    for part in PARTS:
        import_module(part)
        await asyncio.sleep(0)
    from slmdesk.application import Application

    return Application.build()


def qt_application(argv: list[str]) -> QApplication:
    """The application object of this process, made when there is none. Exits where there is no display."""
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    ):
        # Qt would abort the process without a word that helps.
        sys.stderr.write("error: There is no display to open a window on.\n")
        sys.stderr.write("Use the commands instead: “slmdesk chat” talks in the terminal.\n")
        raise SystemExit(1)
    QCoreApplication.setApplicationName("SLM Desk")
    QCoreApplication.setOrganizationDomain("slmdesk")
    existing = QApplication.instance()
    # The style is named here and not set later: `setStyle` returns a QStyle, whose enums take 20 ms to wrap.
    arguments = [*(argv[:1] or ["slmdesk"]), "-style", "fusion"]
    app = existing if isinstance(existing, QApplication) else QApplication(arguments)
    app.setDesktopFileName("slmdesk")
    # Closing the window must not stop the event loop while coroutines still have to end.
    app.setQuitOnLastWindowClosed(False)
    return app


def _show_fatal(app: QApplication, error: SlmDeskError) -> int:
    """There is nothing to work with: say so in a small window, and on stderr for those who started it there."""
    from slmdesk.gui.widgets.panels import ErrorPanel

    sys.stderr.write(f"error: {error.message}\n{error.hint}\n")
    theme = Theme(app)
    panel = ErrorPanel(theme, error, closable=False)
    theme.dress(panel)
    panel.setWindowTitle("SLM Desk")
    panel.setAttribute(Qt.WidgetAttribute.WA_QuitOnClose)
    app.setQuitOnLastWindowClosed(True)
    panel.show()
    app.exec()
    return 1
