"""A keyring for tests that start programs: real to the program, kept in the file that SLMDESK_TEST_KEYRING names."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class FileKeyring(KeyringBackend):
    """Passwords by service and name."""

    priority = 1  # type: ignore[assignment]

    def get_password(self, service: str, username: str) -> str | None:
        return self._all().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._write(self._all() | {f"{service}/{username}": password})

    def delete_password(self, service: str, username: str) -> None:
        there = self._all()
        if f"{service}/{username}" not in there:
            raise PasswordDeleteError(username)
        del there[f"{service}/{username}"]
        self._write(there)

    def _path(self) -> Path:
        return Path(os.environ["SLMDESK_TEST_KEYRING"])

    def _all(self) -> dict[str, str]:
        return dict(json.loads(self._path().read_text())) if self._path().exists() else {}

    def _write(self, kept: dict[str, str]) -> None:
        self._path().write_text(json.dumps(kept))
