"""A hub's search: our query as its parameters, its answer as our entries. No requests are made here."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from slmdesk.catalog.names import kind_of, parameters_in
from slmdesk.catalog.records import (
    FORMATS,
    TIER_BOUNDS,
    CatalogEntry,
    CatalogQuery,
    Format,
    Sort,
    rough_memory,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = 50
_SORTS: dict[Sort, str] = {
    "trending": "trendingScore",
    "downloads": "downloads",
    "likes": "likes",
    "updated": "lastModified",
    "created": "createdAt",
}
# "createdAt" and the rest come only when asked for by name; the card and the files are left out on purpose.
_FACTS = tuple(
    (
        "downloads likes gated tags pipeline_tag lastModified createdAt trendingScore safetensors gguf "
        "library_name"
    ).split()
)
_LANGUAGE = re.compile(r"^[a-z]{2}$")
_MOST_TAGS = 400


def parameters(query: CatalogQuery, text: str) -> dict[str, Any]:
    """The query as `/api/models` takes it. What the hub cannot filter is left to `records.accepts`."""
    asked: dict[str, Any] = {"limit": PAGE, "expand": list(_FACTS)}
    if text:
        asked["search"] = text
    filters: list[str] = [query.formats[0]] if len(query.formats) == 1 else []
    if len(query.licences) == 1:
        filters.append(f"license:{query.licences[0].lower()}")
    if len(query.languages) == 1:
        filters.append(query.languages[0])
    if filters:
        asked["filter"] = filters
    if query.task:
        asked["pipeline_tag"] = query.task
    if query.publisher:
        asked["author"] = query.publisher
    if query.gated is not None:
        asked["gated"] = str(query.gated).lower()
    # Hubs count the weights of safetensors only; for other formats the size in the name may be all there is.
    if query.formats == ("safetensors",) and (counted := _counted(query)):
        asked["num_parameters"] = counted
    # Names of two models seldom compare; the hub knows no order by size or name either.
    asked["sort"] = _SORTS.get(query.sort, "downloads" if text else "trendingScore")
    return asked


def key(query: CatalogQuery) -> str:
    """The same text for the same search. Free memory changes all the time and stays out."""
    data = asdict(query)
    data["text"] = " ".join(query.text.lower().split())
    if data.pop("memory") and query.fits:
        data["limit"] = _counted(query)
    return json.dumps(data, sort_keys=True)


def _counted(query: CatalogQuery) -> str:
    """The range of parameters as the hub writes it ("min:1.5B,max:14B")."""
    low, high = 0, 0
    if query.tiers:
        low = min(TIER_BOUNDS[tier][0] for tier in query.tiers)
        high = max(TIER_BOUNDS[tier][1] for tier in query.tiers)
    if query.fits and query.memory:
        runs = max(0, query.memory - rough_memory(1)) / (rough_memory(10**9) - rough_memory(1)) * 1e9
        rounded = max(1, round(runs / 5e8)) * 5e8  # in steps, so that the same search stays the same
        high = int(min(high, rounded) if high else rounded)
    limits = [f"min:{low / 1e9:g}B"] if low else []
    if high:
        limits.append(f"max:{high / 1e9:g}B")
    return ",".join(limits)


def entry_of(data: Any) -> CatalogEntry | None:
    """One model of a hub's answer; None where it is none. Whatever a hub sends, this does not raise."""
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or "/" not in data["id"]:
        return None
    name: str = data["id"]
    tags = [tag for tag in _list(data.get("tags"))[:_MOST_TAGS] if isinstance(tag, str)]
    task = _text(data.get("pipeline_tag"))
    gguf, weights = _table(data.get("gguf")), _table(data.get("safetensors"))
    counted = _number(gguf.get("total")) or _number(weights.get("total"))
    told = parameters_in(name)
    # Quantized safetensors are counted in packed words, which are fewer than the weights: then the name is right.
    if told and (not counted or counted < told / 2):
        counted = told
    return CatalogEntry(
        id=name,
        parameters=counted,
        formats=_formats(tags, _text(data.get("library_name"))),
        licence=_licence(data, tags),
        task=task,
        kind=kind_of(name, task, tags),
        gated=bool(data.get("gated")),
        downloads=_number(data.get("downloads")),
        likes=_number(data.get("likes")),
        trending=_number(data.get("trendingScore")),
        updated=_text(data.get("lastModified"))[:10],
        created=_text(data.get("createdAt"))[:10],
        architecture=_text(gguf.get("architecture")),
        context_length=_number(gguf.get("context_length")),
        languages=tuple(dict.fromkeys(tag for tag in tags if _LANGUAGE.match(tag)))[:40],
    )


def base_models(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The repositories a model was made from, as its tags say ("base_model:quantized:a/b")."""
    found: dict[str, None] = {}
    for tag in _list(data.get("tags"))[:_MOST_TAGS]:
        if isinstance(tag, str) and tag.startswith("base_model:"):
            found[tag.rpartition(":")[2]] = None
    return tuple(name for name in found if "/" in name)


def _formats(tags: list[str], library: str) -> tuple[Format, ...]:
    names = {*tags, library}
    if "mlx" in names:
        return ("mlx",)  # its safetensors are of its own kind
    return tuple(one for one in FORMATS if one in names)


def _licence(data: Mapping[str, Any], tags: list[str]) -> str:
    tagged = next((tag[8:] for tag in tags if tag.startswith("license:")), "")
    card = _table(data.get("cardData"))
    if tagged in {"", "other"}:
        return _text(card.get("license_name")) or _text(card.get("license")) or tagged
    return tagged


def _text(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        return 0
    return int(value)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
