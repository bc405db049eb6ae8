"""`slmdesk search`: models on the hub and in the built-in list."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.catalog.records import FORMATS, SORTS, TIERS, CatalogEntry, CatalogQuery, rough_memory
from slmdesk.core import amounts
from slmdesk.core.hardware import memory

if TYPE_CHECKING:
    from slmdesk.cli.output import Output
    from slmdesk.core.errors import SlmDeskError

_MOST = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "query", nargs="*", metavar="QUERY", help="part of a name, publisher/name, or an address"
    )
    parser.add_argument("--tier", action="append", choices=TIERS, default=[], help="may be given again")
    parser.add_argument("--fits", action="store_true", help="only what should fit into the memory free now")
    parser.add_argument("--license", action="append", default=[], metavar="NAME", help="apache-2.0, mit, …")
    parser.add_argument("--sort", choices=SORTS, default="relevance")
    parser.add_argument("--limit", type=_count, default=20, help=f"how many to list, {_MOST} at most")
    parser.add_argument("--format", action="append", choices=FORMATS, default=[], help="may be given again")


def run(args: argparse.Namespace, out: Output) -> int:
    query = CatalogQuery(
        text=" ".join(args.query),
        formats=tuple(args.format),
        tiers=tuple(args.tier),
        licences=tuple(args.license),
        fits=args.fits,
        memory=memory()[1],
        sort=args.sort,
    )
    return asyncio.run(_search(query, args.limit, out))


async def _search(query: CatalogQuery, limit: int, out: Output) -> int:
    application = Application.build()
    try:
        out.status("Searching…")
        entries, note, error = await _found(application, query, limit)
    finally:
        await application.close()
    out.clear_status()
    if note:
        out.note(note)
    if not entries and error is not None and query.text:
        raise error
    if entries:
        rows = [_row(entry, query.memory) for entry in entries]
        out.table(("MODEL", "PARAMETERS", "FORMATS", "LICENCE", "DOWNLOADS", "FITS"), rows, right=(1, 4))
    else:
        out.text("No model was found. Fewer words or filters find more.")
    result = {"models": [entry_json(entry, query.memory) for entry in entries], "note": note}
    out.done({**result, "error": error.to_json() if error else None})
    return 0


async def _found(
    application: Application, query: CatalogQuery, limit: int
) -> tuple[list[CatalogEntry], str, SlmDeskError | None]:
    """The first `limit` models in the order they came; a later page's facts replace the earlier ones."""
    found: dict[str, CatalogEntry] = {}
    note, error = "", None
    async with aclosing(application.catalog.search(query)) as pages:
        async for page in pages:
            found |= {entry.id: entry for entry in page.entries}
            note, error = page.note or note, page.error or error
            # The built-in list answers first; the hub is asked in any case.
            if len(found) >= limit and page.source != "built_in":
                break
    return list(found.values())[:limit], note, error


def entry_json(entry: CatalogEntry, available: int) -> dict[str, Any]:
    """A model of the catalog as programs see it; `fits` is rough, by the number of parameters alone."""
    data = asdict(entry)
    needed = rough_memory(entry.parameters)
    fits = needed <= available if needed else None
    return {**data, "publisher": entry.publisher, "name": entry.name, "tier": entry.tier, "fits": fits}


def _row(entry: CatalogEntry, available: int) -> tuple[str, ...]:
    entry = replace(entry, licence=entry.licence + (" (to accept)" if entry.gated else ""))
    needed = rough_memory(entry.parameters)
    fits = ("yes" if needed <= available else "no") if needed else ""
    downloads = f"{entry.downloads:,}".replace(",", " ") if entry.downloads else ""
    return (
        entry.id,
        amounts.parameters(entry.parameters),
        " ".join(entry.formats),
        entry.licence,
        downloads,
        fits,
    )


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"a number from 1 to {_MOST}")
    return number
