"""Secrets: in the system's keyring, or in memory until the program ends. Nowhere else."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import register_secret

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_log = logging.getLogger(__name__)
_SERVICE = "SLM Desk"


class Secrets:
    """Named secrets. Methods may block (a keyring may ask the person to unlock it): call them off the main thread.

    Nothing raises: what the keyring refuses is kept in memory for the session and told in `problem`.
    """

    def __init__(self, service: str = _SERVICE) -> None:
        self._service = service
        self._lock = threading.RLock()
        self._memory: dict[str, str] = {}
        self._backend: KeyringBackend | None = None
        self._opened = False
        self._problem: SlmDeskError | None = None

    @property
    def persistent(self) -> bool:
        """Whether secrets outlive this session."""
        with self._lock:
            return self._open() is not None and self._problem is None

    @property
    def problem(self) -> SlmDeskError | None:
        """Why secrets are kept in memory only, or None."""
        with self._lock:
            self._open()
            return self._problem

    def get(self, name: str) -> str | None:
        """The secret, or None. It stays out of the logs from then on."""
        with self._lock:
            value = self._memory.get(name)
            backend = self._open()
            if value is None and backend is not None:
                try:
                    value = backend.get_password(self._service, name)
                except Exception as error:  # noqa: BLE001 - backends raise whatever their system does
                    self._failed("read", error)
        register_secret(value)
        return value

    def set(self, name: str, value: str) -> None:
        """Keep the secret: in the keyring, or in memory where there is none or it refuses."""
        register_secret(value)
        with self._lock:
            backend = self._open()
            if backend is not None:
                try:
                    backend.set_password(self._service, name, value)
                except Exception as error:  # noqa: BLE001
                    self._failed("written", error)
                else:
                    self._memory.pop(name, None)
                    self._problem = None
                    return
            self._memory[name] = value

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
            backend = self._open()
            if backend is None:
                return
            from keyring.errors import PasswordDeleteError

            try:
                backend.delete_password(self._service, name)
            except PasswordDeleteError:
                if self.get(name) is not None:
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
                self._problem = SlmDeskError(
                    "keyring_missing",
                    "This system has no keyring to keep secrets in.",
                    "Secrets are kept in memory until SLM Desk ends. On Linux, install and unlock GNOME Keyring, "
                    "KWallet or KeePassXC to keep them.",
                )
        return self._backend

    def _failed(self, what: str, error: Exception) -> None:
        # The error's text could hold the secret; its type says enough.
        _log.warning("the keyring failed: %s", type(error).__name__)
        self._problem = SlmDeskError(
            "keyring_failed",
            f"A secret could not be {what}: the system's keyring refused.",
            "Unlock the keyring and try again. Until then secrets are kept in memory only.",
            details=type(error).__name__,
        )


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
