"""Files that a program sends to make a model of: kept by their SHA-256 in a hidden folder beside the models, until a
model is made of them or a day has passed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.library.transfer import require_room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from slmdesk.library.library import Library

_FOLDER = ".slmdesk-blobs"
_ADAPTERS = ".slmdesk-adapters"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_KEPT_S = 24 * 3600
_MARGIN = 512 * 1024 * 1024  # bytes of the disk that no sender gets


class Blobs:
    """In the first models folder. Raises `file_unwritable` or `disk_full` where nothing can be written there."""

    def __init__(self, library: Library) -> None:
        self._library = library

    @property
    def _folder(self) -> Path:
        return self._library.folders[0] / _FOLDER

    async def find(self, digest: str) -> Path:
        """The file of this digest ("sha256:…"). Raises `name_invalid` or `blob_missing`."""
        path = self._folder / f"sha256-{_hex(digest)}"
        if not await asyncio.to_thread(path.is_file):
            raise SlmDeskError(
                "blob_missing",
                f"The file sha256:{_hex(digest)[:12]}… was not sent.",
                "Send it first, to /api/blobs.",
            )
        return path

    async def take(self, digest: str, pieces: AsyncIterator[bytes], size: int) -> None:
        """Keep what is sent, once it is whole and is what its digest says; `size` in bytes as announced, 0: not.

        Raises `name_invalid`, `hash_wrong`, and `disk_full` before the disk is.
        """
        expected = _hex(digest)
        folder = self._folder
        await asyncio.to_thread(self._prepare, folder, size)
        partial = folder / f".{expected[:16]}-{os.getpid()}-{time.monotonic_ns()}.part"
        seen, written, looked = hashlib.sha256(), 0, 0
        try:
            file = await asyncio.to_thread(partial.open, "wb")
            try:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
                    await asyncio.to_thread(seen.update, piece)
                    written += len(piece)
                    if written - looked > _MARGIN // 4:
                        looked = written
                        await asyncio.to_thread(require_room, folder, _MARGIN)
            finally:
                await asyncio.to_thread(file.close)
            if seen.hexdigest() != expected:
                raise SlmDeskError(
                    "hash_wrong",
                    f"What was sent is not the content of sha256:{expected[:12]}….",
                    "Send the file again.",
                )
            await asyncio.to_thread(os.replace, partial, folder / f"sha256-{expected}")
        except OSError as error:
            raise writing_error(folder, error) from error
        finally:
            with suppress(OSError):
                partial.unlink()

    async def find_adapter(self, digest: str) -> Path:
        """The same of an adapter, which may have been put among those that stay."""
        kept = self._adapter(digest)
        return kept if await asyncio.to_thread(kept.is_file) else await self.find(digest)

    async def keep_adapter(self, digest: str) -> Path:
        """Put the file among the adapters that stay; where it lies then. Raises as `find` does."""
        target = self._adapter(digest)
        if await asyncio.to_thread(target.is_file):
            return target
        source = await self.find(digest)

        def place() -> Path:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            return target

        try:
            return await asyncio.to_thread(place)
        except OSError as error:
            raise writing_error(target.parent, error) from error

    def _adapter(self, digest: str) -> Path:
        return self._library.folders[0] / _ADAPTERS / f"sha256-{_hex(digest)}.gguf"

    @staticmethod
    def _prepare(folder: Path, size: int) -> None:
        """Make the folder, throw away what nobody made a model of, and see that there is room."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                if time.time() - path.stat().st_mtime > _KEPT_S:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise writing_error(folder, error) from error
        require_room(folder, size + _MARGIN)


def _hex(digest: str) -> str:
    found = _DIGEST.fullmatch(digest.strip().lower())
    if found is None:
        raise SlmDeskError(
            "name_invalid",
            f"{digest[:80]!r} is no SHA-256.",
            "Write it as sha256: and 64 hexadecimal digits.",
        )
    return found[1]
