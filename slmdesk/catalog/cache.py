"""What was seen of hubs, kept in SQLite: found again offline, and not asked for twice within minutes.

Nothing here is needed for anything to work: a database that cannot be used costs the cache, never a search.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from slmdesk.catalog.records import CatalogEntry
from slmdesk.core.database import Database, Migration
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.wire import decoded, encoded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Iterable

T = TypeVar("T")

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "catalog-1-cache",
        """
        CREATE TABLE catalog_entries (
            id TEXT PRIMARY KEY,
            data TEXT NOT NULL,
            seen_at REAL NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX catalog_entries_seen ON catalog_entries (seen_at);
        CREATE TABLE catalog_searches (
            hub TEXT NOT NULL,
            query TEXT NOT NULL,
            page INTEGER NOT NULL,
            ids TEXT NOT NULL,
            next_page TEXT NOT NULL,
            fetched_at REAL NOT NULL,
            PRIMARY KEY (hub, query, page)
        ) WITHOUT ROWID;
        CREATE TABLE catalog_pages (
            hub TEXT NOT NULL,
            repo TEXT NOT NULL,
            name TEXT NOT NULL,
            data TEXT NOT NULL,
            fetched_at REAL NOT NULL,
            PRIMARY KEY (hub, repo, name)
        ) WITHOUT ROWID;
        """,
    ),
)

_MOST_ENTRIES = 100_000
_SEARCHES_KEPT_S = 30 * 86400.0
_PAGES_KEPT_S = 90 * 86400.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedValue:
    """Something kept, and how many seconds ago it came from the hub."""

    data: Any
    age_s: float


@dataclass(frozen=True, slots=True)
class CachedSearch:
    """One page of an earlier search."""

    entries: tuple[CatalogEntry, ...]
    next_page: str
    age_s: float


class Cache:
    """The catalog's tables. `None` or nothing where a database is of no use today."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self) -> list[CatalogEntry]:
        """All models seen so far."""

        def work(connection: sqlite3.Connection) -> list[str]:
            return [row[0] for row in connection.execute("SELECT data FROM catalog_entries")]

        texts = await self._quiet(self._database.read(work)) or []
        import asyncio

        return await asyncio.to_thread(lambda: [e for text in texts if (e := _entry(text)) is not None])

    async def search(self, hub: str, query: str, page: int) -> CachedSearch | None:
        """A page of an earlier search with the same words, filters and order."""

        def work(connection: sqlite3.Connection) -> CachedSearch | None:
            row = connection.execute(
                "SELECT ids, next_page, fetched_at FROM catalog_searches WHERE hub = ? AND query = ? AND page = ?",
                (hub, query, page),
            ).fetchone()
            if row is None:
                return None
            entries = []
            for entry_id in json.loads(row["ids"]):
                found = connection.execute(
                    "SELECT data FROM catalog_entries WHERE id = ?", (entry_id,)
                ).fetchone()
                entry = _entry(found[0]) if found else None
                if entry is not None:
                    entries.append(entry)
            return CachedSearch(tuple(entries), row["next_page"], time.time() - row["fetched_at"])

        return await self._quiet(self._database.read(work))

    async def keep_search(
        self, hub: str, query: str, page: int, entries: Iterable[CatalogEntry], next_page: str
    ) -> None:
        """Keep a page of results, and the models in it."""
        listed = list(entries)
        rows = [(entry.id, encoded(entry).decode(), time.time()) for entry in listed]
        ids = json.dumps([entry.id for entry in listed])

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO catalog_entries VALUES (?, ?, ?)", rows)
            connection.execute(
                "INSERT OR REPLACE INTO catalog_searches VALUES (?, ?, ?, ?, ?, ?)",
                (hub, query, page, ids, next_page, time.time()),
            )

        await self._quiet(self._database.run(work))

    async def page(self, hub: str, repo: str, name: str) -> CachedValue | None:
        """Something kept of a model: its facts ("model"), its card ("card"), a configuration."""

        def work(connection: sqlite3.Connection) -> CachedValue | None:
            row = connection.execute(
                "SELECT data, fetched_at FROM catalog_pages WHERE hub = ? AND repo = ? AND name = ?",
                (hub, repo, name),
            ).fetchone()
            return CachedValue(json.loads(row["data"]), time.time() - row["fetched_at"]) if row else None

        return await self._quiet(self._database.read(work))

    async def keep_page(self, hub: str, repo: str, name: str, data: Any) -> None:
        text = json.dumps(data)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO catalog_pages VALUES (?, ?, ?, ?, ?)",
                (hub, repo, name, text, time.time()),
            )

        await self._quiet(self._database.run(work))

    async def tidy(self) -> None:
        """Let go of what is old, and of the longest unseen models above 100 000."""
        now = time.time()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM catalog_searches WHERE fetched_at < ?", (now - _SEARCHES_KEPT_S,))
            connection.execute("DELETE FROM catalog_pages WHERE fetched_at < ?", (now - _PAGES_KEPT_S,))
            connection.execute(
                "DELETE FROM catalog_entries WHERE id IN "
                "(SELECT id FROM catalog_entries ORDER BY seen_at DESC LIMIT -1 OFFSET ?)",
                (_MOST_ENTRIES,),
            )

        await self._quiet(self._database.run(work))

    async def _quiet(self, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except SlmDeskError as error:
            _log.warning("the catalog's cache is not used: %s", error.message)
            return None


def _entry(text: str) -> CatalogEntry | None:
    """A kept entry; None for what another version kept and this one cannot read: a hub tells it again."""
    try:
        return decoded(text, CatalogEntry)
    except SlmDeskError:
        return None
