"""What is known of the quants made here, and how long each step took on this machine."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slmdesk.core.database import Database, Migration

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "quantize.1",
        """
        CREATE TABLE quants (
            path TEXT PRIMARY KEY,
            model TEXT NOT NULL,
            source TEXT NOT NULL,
            quant TEXT NOT NULL,
            facts TEXT NOT NULL,
            made_at REAL NOT NULL
        );
        CREATE INDEX quants_by_model ON quants (model, made_at);
        CREATE TABLE quantize_times (
            step TEXT NOT NULL,
            key TEXT NOT NULL,
            expected REAL NOT NULL,
            reckoned REAL NOT NULL,
            seconds REAL NOT NULL,
            at REAL NOT NULL
        );
        CREATE INDEX quantize_times_by_step ON quantize_times (step, key, at);
        """,
    ),
)
_LOOKED_AT = 12  # latest runs of a step
_KEPT = 400
_SMALL_S = 0.3  # below this a difference is noise
_FIXED_S = 0.6  # a child process starts, imports and ends


@dataclass(frozen=True, slots=True)
class Quant:
    """One quant that was made here, or the source it was made of (`quant` is then the source's own).

    `facts` holds what was forecast, made and measured, under the names of the result (`size_bytes`,
    `perplexity`, `kld_mean`, …).
    """

    path: str
    model: str
    source: str
    quant: str
    facts: dict[str, Any] = field(default_factory=dict)
    made_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How the steps of one kind went here: `factor` by which the reckoned time is multiplied, `fixed_s` for
    what does not grow with the model, and `error`, the median relative error of past forecasts (None: no past).
    """

    factor: float = 1.0
    fixed_s: float = _FIXED_S
    error: float | None = None
    runs: int = 0

    def seconds(self, reckoned: float) -> float:
        return self.fixed_s + reckoned * self.factor


class QuantStore:
    """The tables of this room. Methods raise what `Database.run` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, quant: Quant) -> None:
        """Add a quant, or replace what was known of the file; facts that are not given stay."""

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT facts FROM quants WHERE path = ?", (quant.path,)).fetchone()
            facts = {**(json.loads(row[0]) if row else {}), **quant.facts}
            connection.execute(
                "INSERT OR REPLACE INTO quants (path, model, source, quant, facts, made_at) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    quant.path,
                    quant.model,
                    quant.source,
                    quant.quant,
                    json.dumps(facts),
                    quant.made_at or time.time(),
                ),
            )

        await self._database.run(work)

    async def all(self) -> list[Quant]:
        """Everything that was made and measured here."""
        return await self._database.read(
            lambda connection: [
                _quant(row) for row in connection.execute("SELECT * FROM quants ORDER BY made_at")
            ]
        )

    async def forget(self, path: str) -> None:
        """Take a file off the table."""
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM quants WHERE path = ?", (path,))
        )

    async def took(self, step: str, key: str, *, expected: float, reckoned: float, seconds: float) -> None:
        """Remember how long a step took. `reckoned`: the work in it, in seconds, without what is fixed."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO quantize_times (step, key, expected, reckoned, seconds, at) VALUES (?, ?, ?, ?, ?, ?)",
                (step, key, expected, reckoned, seconds, time.time()),
            )
            connection.execute(
                "DELETE FROM quantize_times WHERE at < (SELECT min(at) FROM (SELECT at FROM quantize_times"
                " ORDER BY at DESC LIMIT ?))",
                (_KEPT,),
            )

        await self._database.run(work)

    async def paces(self) -> Mapping[tuple[str, str], Pace]:
        """Pace by step and key; the key "" stands for all of a step together."""

        def work(connection: sqlite3.Connection) -> dict[tuple[str, str], list[tuple[float, float, float]]]:
            groups: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
            for row in connection.execute("SELECT * FROM quantize_times ORDER BY at DESC"):
                for key in {row["key"], ""}:
                    rows = groups.setdefault((row["step"], key), [])
                    if len(rows) < _LOOKED_AT:
                        rows.append((row["expected"], row["reckoned"], row["seconds"]))
            return groups

        return {name: pace_of(rows) for name, rows in (await self._database.read(work)).items()}


def pace_of(rows: list[tuple[float, float, float]]) -> Pace:
    """What (expected, reckoned, real) seconds of past runs teach: a line through them where they differ enough,
    else one factor for all."""
    import statistics  # here: it brings decimal numbers along, and the schema is read at every start

    reckoned, real = [row[1] for row in rows], [row[2] for row in rows]
    errors = [abs(row[0] - row[2]) / max(row[2], _SMALL_S) for row in rows if row[0] > 0]
    error = statistics.median(errors) if errors else None
    spread = max(reckoned) - min(reckoned)
    if len(rows) >= 3 and spread > max(_SMALL_S, 0.3 * max(reckoned)):
        slope, fixed = statistics.linear_regression(reckoned, real)
        if slope > 0 and fixed >= 0:
            return Pace(slope, fixed, error, len(rows))
    total, work = statistics.median(real), statistics.median(reckoned)
    fixed = min(_FIXED_S, total / 2) if work < 1 else _FIXED_S
    if work < 0.02:
        return Pace(1.0, max(total - work, 0.0), error, len(rows))
    return Pace(max(total - fixed, 0.05 * total) / work, fixed, error, len(rows))


def _quant(row: sqlite3.Row) -> Quant:
    return Quant(
        row["path"], row["model"], row["source"], row["quant"], json.loads(row["facts"]), row["made_at"]
    )
