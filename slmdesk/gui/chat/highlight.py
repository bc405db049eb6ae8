"""Colours for code. Lexers are loaded in a thread; the lexing itself runs in slices between frames.

Pygments reads a block in tens of milliseconds, so neither loading nor reading may happen in one piece on the main
thread.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from weakref import ref

from PySide6.QtCore import QObject, QTimer, Signal
from shiboken6 import isValid

from slmdesk.gui.chat.body.units import units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pygments.lexer import Lexer
    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.chat.body.code import LaidCode, Run
    from slmdesk.gui.chat.body.style import Category

SLICE_S = 0.003
"""How long one slice may take."""
SHARE = 0.1
"""How much of the time one growing block may be lexed over and over."""
LONGEST = 200_000
"""Code beyond this many characters stays plain."""

_PREFIXES: tuple[tuple[str, Category], ...] = (
    ("Token.Comment", "comment"),
    ("Token.Keyword", "keyword"),
    ("Token.Operator.Word", "keyword"),
    ("Token.Literal.String", "text"),
    ("Token.Literal.Number", "number"),
    ("Token.Name.Constant", "number"),
    ("Token.Name.Function", "name"),
    ("Token.Name.Class", "name"),
    ("Token.Name.Tag", "keyword"),
    ("Token.Name.Attribute", "number"),
    ("Token.Name.Decorator", "number"),
    ("Token.Name.Builtin", "keyword"),
    ("Token.Name.Variable", "number"),
    ("Token.Generic.Deleted", "bad"),
    ("Token.Generic.Inserted", "text"),
    ("Token.Generic.Heading", "name"),
    ("Token.Generic.Prompt", "comment"),
    ("Token.Error", "bad"),
)


def category_of(token_type: str) -> Category:
    """What a token of Pygments (its type as text) is shown as."""
    for prefix, category in _PREFIXES:
        if token_type == prefix or token_type.startswith(prefix + "."):
            return category
    return "plain"


class Lexers(QObject):
    """Pygments' lexers by the name a fence gives them.

    Signals:
        loaded(str): a lexer that was missing is there, or is known not to exist.
    """

    loaded = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._found: dict[str, Lexer | None] = {"": None}
        self._asked: set[str] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._categories: dict[Any, Category] = {}

    def get(self, language: str) -> Lexer | None:
        """The lexer, or None while it loads and when there is none."""
        name = language.lower()
        if name not in self._found and name not in self._asked:
            self._asked.add(name)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="lexers")
            self._pool.submit(self._load, name)
        return self._found.get(name)

    def known(self, language: str) -> bool:
        """Whether `get` gives its final answer for this language."""
        return language.lower() in self._found

    def category(self, token_type: Any) -> Category:
        """`category_of`, remembered."""
        found = self._categories.get(token_type)
        if found is None:
            found = self._categories[token_type] = category_of(str(token_type))
        return found

    def close(self) -> None:
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _load(self, name: str) -> None:
        from pygments.lexers import get_lexer_by_name
        from pygments.util import ClassNotFound

        try:
            lexer = get_lexer_by_name(name)
            list(lexer.get_tokens_unprocessed("a"))  # builds its tables here, not on the main thread
        except ClassNotFound:
            lexer = None
        self._found[name] = lexer
        self.loaded.emit(name)


class _Job:
    """One reading of one block as it stood when the job began."""

    def __init__(self, code: LaidCode, body: QWidget) -> None:
        self.code = ref(code)
        self.body = body
        self.again_at = 0.0
        self.length = -1
        self._tokens: Iterator[tuple[int, Any, str]] | None = None
        self._lines: list[list[Run]] = []
        self._column = 0
        self._spent = 0.0

    def stale(self, code: LaidCode) -> bool:
        return self.length != len(code.text)

    def step(self, code: LaidCode, lexers: Lexers, deadline: float) -> bool:
        """Read on until `deadline`; True when the whole text is read and coloured."""
        began = time.perf_counter()
        if self._tokens is None:
            lexer = lexers.get(code.block.language.partition(" ")[0])
            if lexer is None or len(code.text) > LONGEST:
                return True
            self.length = len(code.text)
            self._tokens = iter(lexer.get_tokens_unprocessed(code.text))
            self._lines = [[]]
            self._column = 0
            self._spent = 0.0
        for _, token_type, text in self._tokens:
            self._add(lexers.category(token_type), text)
            if time.perf_counter() > deadline:
                self._spent += time.perf_counter() - began
                return False
        self._spent += time.perf_counter() - began
        self._tokens = None
        self.again_at = time.perf_counter() + self._spent / SHARE
        code.colour(0, self._lines)
        self.body.update()
        return True

    def _add(self, category: Category, text: str) -> None:
        for number, part in enumerate(text.split("\n")):
            if number:
                self._lines.append([])
                self._column = 0
            length = units(part)
            if length and category != "plain":
                self._lines[-1].append((self._column, length, category))
            self._column += length


class Highlighter(QObject):
    """Colours every block it is given, a slice at a time, and again when a block has grown."""

    def __init__(self, lexers: Lexers, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lexers = lexers
        self._jobs: list[_Job] = []
        self._timer = QTimer(self)
        self._timer.setInterval(12)
        self._timer.timeout.connect(self._work)
        lexers.loaded.connect(self._resume)

    def colour(self, code: LaidCode, body: QWidget) -> None:
        """Colour `code` soon, and have `body` painted again then."""
        if not code.block.language:
            return
        for job in self._jobs:
            if job.code() is code:
                break
        else:
            self._jobs.append(_Job(code, body))
        self._lexers.get(code.block.language.partition(" ")[0])
        self._resume()

    def forget(self, code: LaidCode) -> None:
        """`code` is not shown any more."""
        self._jobs = [job for job in self._jobs if job.code() is not code]

    @property
    def idle(self) -> bool:
        """Whether nothing is left to colour."""
        return not self._jobs

    def _resume(self, _name: str = "") -> None:
        if self._jobs and not self._timer.isActive():
            self._timer.start()

    def _work(self) -> None:
        now = time.perf_counter()
        deadline = now + SLICE_S
        waiting = 0
        for job in list(self._jobs):
            code = job.code()
            if code is None or not isValid(job.body):
                self._jobs.remove(job)
                continue
            if not self._lexers.known(code.block.language):
                continue  # goes on when the lexer is there
            waiting += 1
            if job.again_at > now:
                continue
            read = job.step(code, self._lexers, deadline)
            plain = (
                self._lexers.get(code.block.language.partition(" ")[0]) is None or len(code.text) > LONGEST
            )
            if plain or (read and not job.stale(code)):
                self._jobs.remove(job)
                waiting -= 1
            if time.perf_counter() > deadline:
                return
        if not waiting:
            self._timer.stop()
