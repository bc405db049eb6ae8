"""One model's page: its facts, its files as choices, what the hub's scanners say. And several pages side by side."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slmdesk.catalog.choices import Choice, group
from slmdesk.catalog.hub_search import base_models, entry_of
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.quants import QUANTS
from slmdesk.hub.repo import MOST_FILES, RepoInfo, repo_info

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.catalog.records import CatalogEntry
    from slmdesk.formats.architecture import Architecture
    from slmdesk.hub.repo import RepoFile

_KEPT = tuple(
    (
        "id sha gated private tags pipeline_tag library_name downloads likes trendingScore createdAt "
        "lastModified safetensors siblings securityRepoStatus config"
    ).split()
)
LISTED = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M")  # what most publishers offer
_FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
_PICTURE = re.compile(r"!\[[^\]]*\]\(\s*<?https?://|<img\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Card:
    """A model's README without its table of facts. It is a stranger's text: show it without scripts, and fetch its
    pictures only when asked to."""

    text: str
    pictures: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelPage:
    """What is known of one repository. `info` is empty where no hub was asked. `note` tells in a line where facts are
    not the hub's of today. `architecture` and the choices' fits are there after `Catalog.judge`."""

    entry: CatalogEntry
    info: RepoInfo
    choices: tuple[Choice, ...]
    base_models: tuple[str, ...]
    url: str
    note: str = ""
    architecture: Architecture | None = None

    @property
    def repo(self) -> str:
        return self.entry.id

    @property
    def asked(self) -> RepoInfo | None:
        """What the hub said of it a moment ago; None where that was earlier, or it could not be asked."""
        return None if self.note or not self.info.files else self.info

    @property
    def best(self) -> Choice | None:
        """The choice for this machine, after `Catalog.judge`."""
        return next((one for one in self.choices if one.best), None)

    @property
    def listed(self) -> bool:
        """Whether it is made of the built-in list alone: what could be chosen, but nothing that can be fetched now."""
        return not self.info.files and bool(self.choices)

    @property
    def flagged(self) -> tuple[RepoFile, ...]:
        """Files the hub's scanners warn of."""
        return tuple(file for file in self.info.files if file.flagged)


def trimmed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a hub's answer that pages are made of: the rest is large and of no use here."""
    kept = {name: data[name] for name in _KEPT if name in data}
    gguf = data.get("gguf")
    if isinstance(gguf, dict):
        kept["gguf"] = {name: gguf.get(name) for name in ("total", "architecture", "context_length")}
    card = data.get("cardData")
    if isinstance(card, dict):
        kept["cardData"] = {name: card.get(name) for name in ("license", "license_name")}
    if isinstance(kept.get("siblings"), list):
        kept["siblings"] = kept["siblings"][:MOST_FILES]
    return kept


def page_of(data: Any, url: str) -> ModelPage:
    """The page from a hub's answer. Raises `SlmDeskError("hub_answer_invalid")` when it is no model's."""
    entry = entry_of(data)
    if entry is None:
        raise SlmDeskError(
            "hub_answer_invalid",
            "The hub's answer is not about a model.",
            "Check the hub's address in the settings.",
        )
    info = repo_info(data)
    choices = group(info.files, entry.parameters, mlx="mlx" in entry.formats)
    return ModelPage(
        entry=replace(entry, formats=entry.formats or _formats(choices)),
        info=info,
        choices=tuple(choices),
        base_models=base_models(data),
        url=url,
    )


def listed_page(entry: CatalogEntry, parameters: int, url: str, note: str) -> ModelPage:
    """The page of a model of the built-in list that no hub can be asked about: the usual quants, as large as the
    bits of each make them."""
    choices = []
    for quant in LISTED:
        size = QUANTS[quant].bytes_of(parameters)
        choices.append(Choice(quant, "gguf", quant, (), size, size, bits_per_weight=QUANTS[quant].bits))
    return ModelPage(
        entry=entry,
        info=RepoInfo(),
        choices=tuple(choices),
        base_models=(),
        url=url,
        note=note,
    )


def card_of(text: str, note: str = "") -> Card:
    """The card from README.md."""
    body = _FRONT.sub("", text.removeprefix("\ufeff"), count=1).strip()
    return Card(body, bool(_PICTURE.search(body)), note)


def _formats(choices: Sequence[Choice]) -> tuple[Any, ...]:
    return tuple(
        dict.fromkeys(one.kind for one in choices if one.kind in {"gguf", "safetensors", "onnx", "mlx"})
    )


# Side by side


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a comparison: a value for each model, as numbers or words (None: not known), and which of them
    are the better ones."""

    key: str
    title: str
    values: tuple[int | float | str | None, ...]
    better: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two to four models side by side."""

    pages: tuple[ModelPage, ...]
    rows: tuple[Row, ...]


def compare(pages: Sequence[ModelPage]) -> Comparison:
    """Raises `SlmDeskError("compare_count")` for fewer than two or more than four."""
    if not 2 <= len(pages) <= 4:
        raise SlmDeskError(
            "compare_count", "Two to four models can be compared.", "Choose two, three or four models."
        )
    shown = [page.best or next((one for one in page.choices if one.runs), None) for page in pages]
    fits = [one.fit if one else None for one in shown]

    def row(key: str, title: str, values: Sequence[int | float | str | None], sense: int = 0) -> Row:
        return Row(key, title, tuple(values), _better(values, sense))

    entries = [page.entry for page in pages]
    rows = (
        row("parameters", "Parameters", [entry.parameters or None for entry in entries]),
        row("tier", "Tier", [entry.tier for entry in entries]),
        row("file", "File for this machine", [one.id if one else None for one in shown]),
        row("size_bytes", "Download", [one.size_bytes if one else None for one in shown], -1),
        row(
            "bits_per_weight",
            "Bits per weight",
            [(one.bits_per_weight or None) if one else None for one in shown],
            1,
        ),
        row("total_bytes", "Memory", [fit.forecast.total_bytes if fit else None for fit in fits], -1),
        row("verdict", "Fits", [fit.verdict if fit else None for fit in fits]),
        row("context_length", "Context", [_context(page) for page in pages], 1),
        row("licence", "Licence", [entry.licence or None for entry in entries]),
        row("gate", "Licence to accept first", ["yes" if page.info.gate else "no" for page in pages]),
        row("languages", "Languages", [", ".join(entry.languages) or None for entry in entries]),
        row("downloads", "Downloads a month", [entry.downloads or None for entry in entries], 1),
        row("updated", "Changed", [entry.updated or None for entry in entries]),
        row("flagged", "Files warned of", [len(page.flagged) for page in pages], -1),
    )
    return Comparison(tuple(pages), rows)


def _context(page: ModelPage) -> int | None:
    trained = page.architecture.context_length if page.architecture else 0
    return page.entry.context_length or trained or None


def _better(values: Sequence[int | float | str | None], sense: int) -> tuple[int, ...]:
    numbers = [value for value in values if isinstance(value, (int, float))]
    if not sense or len(set(numbers)) < 2:
        return ()
    best = max(numbers) if sense > 0 else min(numbers)
    return tuple(at for at, value in enumerate(values) if value == best)
