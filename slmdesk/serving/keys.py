"""API keys of the service: named, kept as salted hashes in a file of this user, shown once, revocable at once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import filelock
import msgspec

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

GIVEN = "api-key"
"""What a key of the command line or the environment is called in the log: it has no name."""

_TAKEN = frozenset({GIVEN, "slmdesk"})  # what the log calls others
_PREFIX = "sk-slmdesk-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,63}")
_MOST_KEYS = 256
_LOCK_S = 10.0


class KeptKey(msgspec.Struct, frozen=True):
    """One key as the file has it: nothing of it opens anything.

    A key is 256 random bits, so that one round of SHA-256 is as good as many: there is nothing to guess.
    """

    name: str
    salt: str  # 32 hexadecimal digits
    sha256: str  # of the salt and the key
    created: float  # seconds since 1970

    def opens(self, key: bytes) -> bool:
        """Whether this is the hash of `key`, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(_digest(self.salt, key), self.sha256)


class _File(msgspec.Struct):
    keys: list[KeptKey] = []
    version: int = 1


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is told of a key."""

    name: str
    created: float  # seconds since 1970

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "created": self.created}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `secret` is told here and never again."""

    name: str
    created: float  # seconds since 1970
    secret: str = field(repr=False)


class ApiKeys:
    """Makes, lists and revokes keys. Every method reads the file anew: several programs may change it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def all(self) -> tuple[ApiKey, ...]:
        """All keys, the oldest first. Raises `keys_damaged` or `file_unreadable`."""
        kept = await asyncio.to_thread(_read, self._path)
        return tuple(ApiKey(key.name, key.created) for key in kept)

    async def add(self, name: str) -> NewKey:
        """Make a key for a program or a person called `name`.

        Raises `name_invalid`, `key_exists`, `keys_damaged`, `lock_failed`, or what writing the file raises.
        """
        return await asyncio.to_thread(self._add, name.strip())

    async def revoke(self, name: str) -> ApiKey:
        """Forget a key; a running service refuses it from its next request on.

        Raises `key_not_found`, `keys_damaged`, `lock_failed`, or what writing the file raises.
        """
        return await asyncio.to_thread(self._revoke, name.strip())

    def _add(self, name: str) -> NewKey:
        if not _NAME.fullmatch(name) or name.casefold() in _TAKEN:
            raise SlmDeskError(
                "name_invalid",
                f"{name!r} is no name for a key.",
                "Take up to 64 letters, digits, spaces and . _ - @, as in “laptop” or “open-webui”.",
            )
        with self._locked():
            kept = _read(self._path)
            if any(key.name.casefold() == name.casefold() for key in kept):
                raise SlmDeskError(
                    "key_exists",
                    f"There is a key called {name!r} already.",
                    "Choose another name, or revoke that one first.",
                )
            if len(kept) >= _MOST_KEYS:
                raise SlmDeskError(
                    "key_exists", f"There are {_MOST_KEYS} keys already.", "Revoke some of them first."
                )
            secret = _PREFIX + secrets.token_urlsafe(32)
            salt = secrets.token_hex(16)
            made = KeptKey(name, salt, _digest(salt, secret.encode()), time.time())
            self._write([*kept, made])
        return NewKey(name, made.created, secret)

    def _revoke(self, name: str) -> ApiKey:
        with self._locked():
            kept = _read(self._path)
            gone = next((key for key in kept if key.name.casefold() == name.casefold()), None)
            if gone is None:
                names = ", ".join(key.name for key in kept) or "none"
                raise SlmDeskError(
                    "key_not_found", f"There is no key called {name!r}.", f"The keys are: {names}."
                )
            self._write([key for key in kept if key is not gone])
        return ApiKey(gone.name, gone.created)

    def _write(self, kept: list[KeptKey]) -> None:
        atomic_write(self._path, msgspec.json.format(msgspec.json.encode(_File(kept))), mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One program changes the file at a time."""
        lock = filelock.FileLock(str(self._path.with_suffix(".lock")), timeout=_LOCK_S, mode=0o600)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except (OSError, NotImplementedError) as error:  # filelock's Timeout is an OSError
            raise SlmDeskError(
                "lock_failed",
                f"{self._path} cannot be locked: {error}.",
                "Check the permissions there, and that no other slmdesk hangs.",
            ) from error
        try:
            yield
        finally:
            lock.release()


class KeyBook:
    """The keys as a service asks for them. One stat tells whether the file is another one by now.

    A file that cannot be read lets nobody in.
    """

    def __init__(self, path: Path, given: str = "") -> None:
        """`given`: one more key, of the command line or the environment."""
        self._path = path
        self._given = _given(given)
        self._kept: tuple[KeptKey, ...] = ()
        self._stamp: tuple[int, int, int] | None = None

    @property
    def given(self) -> bool:
        """Whether the service was started with a key: then everybody needs one, on this machine too."""
        return self._given is not None

    def __bool__(self) -> bool:
        """Whether there is any key."""
        return self.given or bool(self._now())

    def name_of(self, key: str) -> str:
        """The name of the key with this text; "" when it opens nothing."""
        text = key.encode("utf-8", "surrogateescape")
        return next((kept.name for kept in self._all() if kept.opens(text)), "") if text else ""

    def _all(self) -> Iterator[KeptKey]:
        if self._given is not None:
            yield self._given
        yield from self._now()

    def _now(self) -> tuple[KeptKey, ...]:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            self._kept, self._stamp = (), None
            return ()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._kept = _read(self._path)
            except SlmDeskError as error:
                log.error("no key is accepted: %s", error)  # noqa: TRY400 - the sentence says it all
                self._kept = ()
        return self._kept


def check_given(key: str) -> str:
    """The key of `--api-key` or its variable. Raises `SlmDeskError("key_invalid")` for one that cannot be sent."""
    if not key.isascii() or not key.isprintable() or " " in key or len(key) < 8:
        raise SlmDeskError(
            "key_invalid",
            "The API key must be at least 8 letters, digits or signs of ASCII, without spaces.",
            "“slmdesk keys add NAME” makes a good one.",
        )
    return key


def _given(key: str) -> KeptKey | None:
    if not key:
        return None
    salt = secrets.token_hex(16)
    return KeptKey(GIVEN, salt, _digest(salt, check_given(key).encode()), time.time())


def _digest(salt: str, key: bytes) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + key).hexdigest()


def _read(path: Path) -> tuple[KeptKey, ...]:
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_File).keys
        for key in kept:
            bytes.fromhex(key.salt)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SlmDeskError(
            "file_unreadable", f"{path} cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise SlmDeskError(
            "keys_damaged",
            f"{path}, which holds the API keys, is damaged: {error}.",
            "Delete it and make new keys. Until then no key is accepted.",
        ) from error
    return tuple(kept)
