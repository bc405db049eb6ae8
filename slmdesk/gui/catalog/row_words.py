"""What a line of the catalog says of a model, before and after its files were looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core import amounts

if TYPE_CHECKING:
    from slmdesk.catalog.catalog import Catalog
    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.records import CatalogEntry
    from slmdesk.memory.forecast import Verdict

_BITS = 4.85 / 8  # bytes a weight of the usual quant
_TASKS = {
    "text-generation": "Writes text",
    "image-text-to-text": "Reads pictures and text",
    "feature-extraction": "Makes embeddings",
    "sentence-similarity": "Makes embeddings",
    "automatic-speech-recognition": "Writes down speech",
    "text-classification": "Sorts texts",
    "translation": "Translates",
    "summarization": "Summarizes",
}
_KINDS = {"instruct": "made to converse", "base": "a base model, goes on with text", "embedding": ""}


@dataclass(frozen=True, slots=True)
class BestOffer:
    """The best choice for this machine. `exact` when the files were looked at; else an estimate from the size."""

    words: str
    verdict: Verdict | None
    exact: bool
    choice: Choice | None = None


def publisher_and_name(model_id: str) -> tuple[str, str]:
    publisher, _, name = model_id.rpartition("/")
    return publisher, name


def good_for(entry: CatalogEntry, catalog: Catalog | None) -> str:
    """One line on what the model is good for."""
    known = catalog.known.model(entry.id) if catalog is not None else None
    if known is not None:
        return known.good_for
    first = _TASKS.get(entry.task, "")
    parts = [part for part in (first, _KINDS.get(entry.kind or "", "")) if part]
    words = ", ".join(parts)
    if len(entry.languages) > 1:
        words += f"{', ' if words else ''}{len(entry.languages)} languages"
    return words[:1].upper() + words[1:] if words else "Its page says more"


def facts(entry: CatalogEntry) -> str:
    """ "4.0 B · apache-2.0 · 1.2 M downloads"."""
    parts = [amounts.parameters(entry.parameters), entry.licence]
    if entry.gated:
        parts.append("licence to accept")
    if entry.downloads:
        parts.append(f"{amounts.much(entry.downloads)} downloads")
    return " · ".join(part for part in parts if part)


def gguf_repo(entry: CatalogEntry) -> str:
    """The repository whose files run here; "" where none is known."""
    held = entry.repos.get("gguf", ())
    if held:
        return held[0]
    return entry.id if "gguf" in entry.formats else ""


def repos_of(entry: CatalogEntry) -> list[str]:
    """Every repository known to hold the model, those with GGUF files first, without repeating one."""
    found = [*entry.repos.get("gguf", ())]
    if "gguf" in entry.formats and not found:
        found.append(entry.id)
    found += [entry.id, *(repo for form in ("onnx", "mlx") for repo in entry.repos.get(form, ()))]
    return list(dict.fromkeys(found))


def estimate(entry: CatalogEntry, available: int) -> BestOffer:
    """What the usual quant of a model this size would take."""
    from slmdesk.catalog.records import rough_memory
    from slmdesk.memory.forecast import verdict

    if not entry.parameters:
        return BestOffer("", None, exact=False)
    words = f"about {amounts.size(entry.parameters * _BITS)}"
    return BestOffer(words, verdict(rough_memory(entry.parameters), available), exact=False)


def offer_of(choice: Choice) -> BestOffer:
    """The best choice as the line says it: "Q4_K_M, 2.5 GB"."""
    words = f"{choice.quant or choice.id}, {amounts.size(choice.size_bytes)}"
    return BestOffer(words, choice.verdict, exact=True, choice=choice)
