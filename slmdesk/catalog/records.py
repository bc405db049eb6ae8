"""What the catalog knows of a model that is elsewhere, and what a person asks of the catalog."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from slmdesk.formats.quants import QUANTS, USUAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.errors import SlmDeskError

Format = Literal["gguf", "safetensors", "onnx", "mlx"]
Tier = Literal["micro", "small", "medium"]
Kind = Literal["instruct", "base", "embedding"]
Sort = Literal["relevance", "trending", "downloads", "likes", "updated", "created", "size", "name"]
FORMATS: tuple[Format, ...] = get_args(Format)
TIERS: tuple[Tier, ...] = get_args(Tier)
KINDS: tuple[Kind, ...] = get_args(Kind)
SORTS: tuple[Sort, ...] = get_args(Sort)

# Parameters, lower bound included: the tiers of the design.
TIER_BOUNDS: dict[Tier, tuple[int, int]] = {
    "micro": (100_000_000, 1_500_000_000),
    "small": (1_500_000_000, 14_000_000_000),
    "medium": (14_000_000_000, 30_000_000_000),
}


def tier_of(parameters: int) -> Tier | None:
    """The tier of a model with so many parameters; None below, above, and when it is not known (0)."""
    for tier, (low, high) in TIER_BOUNDS.items():
        if low <= parameters < high:
            return tier
    return None


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model in a list. 0, "" and () where nothing is known. `updated` and `created` are "2026-01-31".

    `built_in` entries come from the list that ships with the program; `repos` are then the repositories that
    hold the model in a format ({"gguf": ("a/b", …)}), otherwise the entry's own.
    """

    id: str
    parameters: int = 0
    formats: tuple[Format, ...] = ()
    licence: str = ""
    task: str = ""
    kind: Kind | None = None
    gated: bool = False
    downloads: int = 0
    likes: int = 0
    trending: int = 0
    updated: str = ""
    created: str = ""
    architecture: str = ""
    context_length: int = 0
    languages: tuple[str, ...] = ()
    built_in: bool = False
    repos: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def publisher(self) -> str:
        return self.id.partition("/")[0]

    @property
    def name(self) -> str:
        return self.id.partition("/")[2] or self.id

    @property
    def tier(self) -> Tier | None:
        return tier_of(self.parameters)


@dataclass(frozen=True, slots=True)
class CatalogQuery:
    """What is looked for. `text` is a name, part of one, `publisher/name` or a pasted address. Empty filters let
    everything through; several formats, tiers, licences or languages mean any of them. `fits` keeps what should
    run in `memory` bytes."""

    text: str = ""
    formats: tuple[Format, ...] = ()
    tiers: tuple[Tier, ...] = ()
    licences: tuple[str, ...] = ()
    task: str = ""
    kind: Kind | None = None
    gated: bool | None = None
    fits: bool = False
    memory: int = 0
    languages: tuple[str, ...] = ()
    publisher: str = ""
    sort: Sort = "relevance"


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Some more results. An entry may come again with more facts: it replaces the one with the same id.

    `source` says who answered. `note` is a line for the person where the hub did not; `error` its reason.
    """

    entries: tuple[CatalogEntry, ...]
    source: Literal["built_in", "cache", "hub"]
    more: bool = False
    note: str = ""
    error: SlmDeskError | None = None


@dataclass(frozen=True, slots=True)
class SearchResults:
    """The best entries in order, and how many there are in all."""

    entries: tuple[CatalogEntry, ...]
    total: int


# Cache, buffers and the process add about a fifth and 300 MB to a file.
_MORE = 1.2
_FIXED = 300_000_000


def rough_memory(parameters: int) -> int:
    """Bytes a model of this size takes as the usual quant with a short context: for filtering lists, before any file is
    looked at. 0 when the size is not known."""
    return int(QUANTS[USUAL].bytes_of(parameters) * _MORE) + _FIXED if parameters else 0


def accepts(query: CatalogQuery, entry: CatalogEntry) -> bool:
    """Whether the entry passes the query's filters (its text is not looked at)."""
    return (
        (not query.formats or any(one in entry.formats for one in query.formats))
        and (not query.tiers or entry.tier in query.tiers)
        and (not query.licences or entry.licence.lower() in _lower(query.licences))
        and (not query.task or entry.task == query.task)
        and (query.kind is None or entry.kind == query.kind)
        and (query.gated is None or entry.gated == query.gated)
        and (not query.publisher or entry.publisher.lower() == query.publisher.lower())
        and (
            not query.languages
            or not entry.languages
            or any(one in entry.languages for one in query.languages)
        )
        and (not query.fits or 0 < rough_memory(entry.parameters) <= query.memory)
    )


def _lower(words: Sequence[str]) -> set[str]:
    return {word.lower() for word in words}
