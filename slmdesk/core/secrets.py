"""Secrets: in the system's keyring, or in memory until the program ends. Nowhere else."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import register_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyring.backend import KeyringBackend

T = TypeVar("T")

_log = logging.getLogger(__name__)
_SERVICE = "SLM Desk"
_PATIENCE_S = 5.0  # an open keyring answers in milliseconds
_IDLE_S = 1.0
_KEEPING_S = 60.0  # who keeps a secret sits there and can unlock it


class Secrets:
    """Named secrets. Methods may block (a keyring may ask the person to unlock it): call them off the main thread.

    No call waits for the keyring longer than `patience_s` (`keeping_s` for writing): one that does not answer goes
    on in a thread of its own, is told in `problem`, and is not waited for again until it has answered.

    Nothing raises: what the keyring refuses is kept in memory for the session and told in `problem`.
    """

    def __init__(
        self, service: str = _SERVICE, *, patience_s: float = _PATIENCE_S, keeping_s: float = _KEEPING_S
    ) -> None:
        self._service = service
        self._patience_s = patience_s
        self._keeping_s = keeping_s
        self._lock = threading.RLock()
        self._memory: dict[str, str] = {}
        self._backend: KeyringBackend | None = None
        self._opened = False
        self._problem: SlmDeskError | None = None
        self._line: _CallThread | None = None
        self._unanswered: Future[Any] | None = None

    @property
    def persistent(self) -> bool:
        """Whether secrets outlive this session."""
        usable = self._wait(self._begin(self._usable), self._patience_s)
        with self._lock:
            return bool(usable) and self._problem is None

    @property
    def problem(self) -> SlmDeskError | None:
        """Why secrets are kept in memory only, or None."""
        self._wait(self._begin(self._usable), self._patience_s)
        with self._lock:
            return self._problem

    @property
    def known_problem(self) -> SlmDeskError | None:
        """`problem`, as far as it has shown itself; asks nobody."""
        with self._lock:
            return self._problem

    def get(self, name: str) -> str | None:
        """The secret, or None. It stays out of the logs from then on."""
        value = self.held(name)
        if value is None:
            value = self._wait(self._begin(partial(self._read, name)), self._patience_s)
        register_secret(value)
        return value

    async def find(self, name: str) -> str | None:
        """`get` for an event loop. Being cancelled ends it at once, whatever the keyring does."""
        value = self.held(name)
        asked = self._begin(partial(self._read, name)) if value is None else None
        if asked is not None:
            try:
                value = await asyncio.wait_for(asyncio.wrap_future(asked), self._patience_s)
            except TimeoutError:
                self._is_late(asked)
        register_secret(value)
        return value

    def held(self, name: str) -> str | None:
        """The secret if this process's memory has it; asks nobody."""
        with self._lock:
            return self._memory.get(name)

    def set(self, name: str, value: str) -> None:
        """Keep the secret: in the keyring, or in memory where there is none or it refuses."""
        register_secret(value)
        with self._lock:
            self._memory[name] = value
        self._wait(self._begin(partial(self._write, name, value)), self._keeping_s)

    def hold(self, name: str, value: str) -> None:
        """Keep the secret in this process's memory alone, in front of what the keyring may say."""
        register_secret(value)
        with self._lock:
            self._memory[name] = value

    def session_only(self) -> dict[str, str]:
        """The secrets that are in memory alone: another process of the program cannot read them anywhere."""
        with self._lock:
            return dict(self._memory)

    def delete(self, name: str) -> None:
        """Forget the secret, wherever it is. Deleting one that is not there is no error."""
        with self._lock:
            self._memory.pop(name, None)
        self._wait(self._begin(partial(self._remove, name)), self._keeping_s)

    # In the keyring's thread

    def _usable(self) -> bool:
        return self._open() is not None

    def _read(self, name: str) -> str | None:
        backend = self._open()
        if backend is None:
            return None
        try:
            value = backend.get_password(self._service, name)
        except Exception as error:  # noqa: BLE001 - backends raise whatever their system does
            self._failed("read", error)
            return None
        self._answered()
        return value

    def _write(self, name: str, value: str) -> None:
        backend = self._open()
        if backend is None:
            return
        try:
            backend.set_password(self._service, name, value)
        except Exception as error:  # noqa: BLE001
            self._failed("written", error)
            return
        with self._lock:
            if self._memory.get(name) == value:
                del self._memory[name]
            self._problem = None

    def _remove(self, name: str) -> None:
        backend = self._open()
        if backend is None:
            return
        from keyring.errors import PasswordDeleteError

        try:
            backend.delete_password(self._service, name)
        except PasswordDeleteError:
            if self._read(name) is not None:
                self._failed("deleted", PasswordDeleteError(name))
        except Exception as error:  # noqa: BLE001
            self._failed("deleted", error)

    def _open(self) -> KeyringBackend | None:
        if not self._opened:
            self._opened = True
            try:
                self._backend = _usable_backend()
            except Exception as error:  # noqa: BLE001 - a broken plug-in must not stop the program
                _log.warning("the keyring could not be opened: %s", type(error).__name__)
            if self._backend is None:
                self._tell(
                    SlmDeskError(
                        "keyring_missing",
                        "This system has no keyring to keep secrets in.",
                        "Secrets are kept in memory until SLM Desk ends. On Linux, install and unlock GNOME Keyring, "
                        "KWallet or KeePassXC to keep them.",
                    )
                )
        return self._backend

    def _failed(self, what: str, error: Exception) -> None:
        # The error's text could hold the secret; its type says enough.
        _log.warning("the keyring failed: %s", type(error).__name__)
        self._tell(
            SlmDeskError(
                "keyring_failed",
                f"A secret could not be {what}: the system's keyring refused.",
                "Unlock the keyring and try again. Until then secrets are kept in memory only.",
                details=type(error).__name__,
            )
        )

    def _answered(self) -> None:
        with self._lock:
            if self._problem is not None and self._problem.code == "keyring_locked":
                self._problem = None

    def _tell(self, problem: SlmDeskError) -> None:
        with self._lock:
            self._problem = problem

    # Waiting for it

    def _begin(self, call: Callable[[], T]) -> Future[T] | None:
        """Have something done by the keyring's thread; None while that does not come back from an earlier call."""
        with self._lock:
            if self._unanswered is not None and not self._unanswered.done():
                return None
            self._unanswered = None
            if self._line is None:
                self._line = _CallThread()
            return self._line.take(call)

    def _wait(self, asked: Future[T] | None, limit_s: float) -> T | None:
        if asked is None:
            return None
        try:
            return asked.result(limit_s)
        except TimeoutError:
            self._is_late(asked)
            return None

    def _is_late(self, asked: Future[Any]) -> None:
        _log.warning("the keyring does not answer")
        with self._lock:
            self._unanswered = asked
        self._tell(
            SlmDeskError(
                "keyring_locked",
                "The system's keyring does not answer; it may be locked.",
                "Unlock it and try again. Until then SLM Desk does without the secrets in it.",
            )
        )


class _CallThread:
    """A thread that does one call after the other, that nobody has to wait for, and that ends when it is idle."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running = False

    def take(self, call: Callable[[], T]) -> Future[T]:
        asked: Future[T] = Future()
        with self._lock:
            self._calls.put((asked, call))
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="slmdesk-keyring", daemon=True).start()
        return asked

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            asked, call = taken
            if asked.set_running_or_notify_cancel():
                try:
                    asked.set_result(call())
                except BaseException as error:  # noqa: BLE001 - it belongs to the one who asked
                    asked.set_exception(error)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with suppress(queue.Empty):
            return self._calls.get(timeout=_IDLE_S)
        with self._lock:
            with suppress(queue.Empty):
                return self._calls.get_nowait()
            self._running = False
        return None


def _usable_backend() -> KeyringBackend | None:
    """The system's keyring; not the ones that keep nothing, or keep it in a readable file."""
    import keyring
    import keyring.backends.fail
    import keyring.backends.null

    backend = keyring.get_keyring()
    candidates: list[KeyringBackend] = list(getattr(backend, "backends", [])) or [
        backend
    ]  # a chain holds several
    for candidate in candidates:
        if isinstance(candidate, (keyring.backends.fail.Keyring, keyring.backends.null.Keyring)):
            continue
        if "plaintext" in type(candidate).__name__.lower():
            continue
        return candidate
    return None
