"""Log files: one a component, of bounded size, and without secrets whatever is logged."""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from slmdesk.core.paths import Paths

_FILE_BYTES = 2 * 1024 * 1024
_FILES_KEPT = 3
_HANDLER_NAME = "slmdesk"
_HIDDEN = "[hidden]"
_SHORTEST_SECRET = 6  # shorter ones would blank out ordinary words
_PATTERNS = (
    re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9+/=_.~-]{6,}"),
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"""(?i)(\b(?:api[_-]?key|token|password|secret)["']?\s*[=:]\s*["']?)[^\s"'&,;}]{6,}"""),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)

# Known to the whole process on purpose: a secret must stay out of every log, whoever writes it.
_secrets: set[str] = set()
_secrets_lock = threading.Lock()


def register_secret(value: str | None) -> None:
    """Keep `value` out of all logs of this process from now on."""
    if value and len(value) >= _SHORTEST_SECRET:
        with _secrets_lock:
            _secrets.add(value)


def redact(text: str) -> str:
    """`text` without registered secrets, tokens, keys and passwords. Also for reports and exports."""
    with _secrets_lock:
        known = sorted(_secrets, key=len, reverse=True)
    for secret in known:
        text = text.replace(secret, _HIDDEN)
    text = _PATTERNS[0].sub(rf"\1\2{_HIDDEN}", text)
    text = _PATTERNS[1].sub(_HIDDEN, text)
    text = _PATTERNS[2].sub(rf"\1{_HIDDEN}", text)
    return _PATTERNS[3].sub(_HIDDEN, text)


class RedactingFormatter(logging.Formatter):
    """Formats the whole record, its traceback included, and hides secrets in the result."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _SharedFileHandler(logging.handlers.RotatingFileHandler):
    """Goes on with the full file where it cannot be renamed (another process of ours has it open on Windows),
    and gives up quietly when the disk is full: a log is never worth an error."""

    def doRollover(self) -> None:
        try:
            super().doRollover()
        except OSError:
            if self.stream is None:
                self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def configure(
    paths: Paths,
    component: str,
    level: str = "info",
    redact: Iterable[str] | Callable[[], Iterable[str]] = (),
    *,
    console: TextIO | None = None,
) -> Path:
    """Send this process's log to `<logs>/<component>.log`, and to `console` where one is given.

    `redact` are values to keep out, beside those given to `register_secret`. `level` is a value of the setting
    `logs.level`. A second call replaces what the first one set up. Returns the file's path; where it cannot be
    written, the program goes on without it.
    """
    for value in redact() if callable(redact) else redact:
        register_secret(value)
    formatter = RedactingFormatter("%(asctime)s %(process)d %(levelname)-7s %(name)s: %(message)s")
    path = paths.logs / f"{component}.log"
    handlers: list[logging.Handler] = []
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            _SharedFileHandler(
                path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8", delay=True
            )
        )
    if console is not None:
        handlers.append(logging.StreamHandler(console))
    release()
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.set_name(_HANDLER_NAME)
        root.addHandler(handler)
    root.setLevel(_level(level))
    for chatty in ("asyncio", "qasync", "filelock", "httpcore2", "httpx2", "markdown_it"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return path


def release() -> None:
    """Close the files `configure` opened."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if h.get_name() == _HANDLER_NAME]:
        root.removeHandler(handler)
        handler.close()


def _level(name: str) -> int:
    level = logging.getLevelNamesMapping().get(name.upper())
    if level is None:
        raise SlmDeskError(
            "setting_invalid", f"{name!r} is no log level.", "Use debug, info, warning or error."
        )
    return level
