"""Quantizing a model that is still on the hub: it is downloaded as every model is, and then quantized.

The download is a job of its own, which a person can pause and which stays when the quants are made; the job that
quantizes waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.room import Fetch, Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.catalog.catalog import Catalog
    from slmdesk.catalog.choices import Choice
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.downloads.downloads import Downloads
    from slmdesk.hub.repo import RepoInfo
    from slmdesk.quantize.request import Request
    from slmdesk.quantize.room import Quantizing

_GGUF_ORDER = ("BF16", "F16")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository with full weights: what would be downloaded of it, and about how many parameters it has."""

    repo: str
    revision: str
    choice: Choice
    parameters: int
    info: RepoInfo | None = None  # what the hub said of it a moment ago


async def look_on_hub(catalog: Catalog, repo: str, *, revision: str = "", refresh: bool = False) -> HubModel:
    """What can be quantized of a repository.

    Raises `source_unsuitable` for one without full weights, and what the hub answers (`repo_not_found`, …).
    """
    page = await catalog.model_page(repo, revision=revision, refresh=refresh)
    choice = full_weights(page.choices)
    if choice is None:
        raise SlmDeskError(
            "source_unsuitable",
            f"{page.repo} holds no full weights: neither safetensors nor a GGUF in F16, BF16 or F32.",
            "Choose the repository of the model's maker; quants are no source for other quants.",
        )
    # Most weights take two bytes where nobody says how many there are.
    parameters = page.entry.parameters or choice.weights_bytes // 2
    return HubModel(page.repo, page.info.revision or revision or "main", choice, parameters, page.asked)


async def quantize_from_hub(
    catalog: Catalog, downloads: Downloads, quantizing: Quantizing, request: Request, *, revision: str = ""
) -> tuple[Job, Job]:
    """Start the download of `request.model` (a repository) and the job that quantizes what came: both jobs.

    Raises what `look_on_hub`, planning a download, starting it, and `Quantizing.start` raise; then nothing was
    started.
    """
    request = request.checked()
    found = await look_on_hub(catalog, request.model, revision=revision, refresh=True)
    choice = found.choice
    files = [file.path for file in choice.files]
    plan = await downloads.plan(found.repo, files, revision=found.revision, info=found.info)
    path = plan.folder
    if choice.kind == "gguf":
        path = min(plan.target(file) for file in plan.files if file.local.lower().endswith(".gguf"))
    origin = Origin(plan.repo, path, plan.folder)
    await quantizing.refuse(request, Fetch("", origin, choice.quant))
    download = await downloads.start(plan)
    return download, await quantizing.start(request, fetch=Fetch(download.id, origin, choice.quant))


def full_weights(choices: Sequence[Choice]) -> Choice | None:
    """What to quantize of a repository: a GGUF that needs no conversion, else the safetensors, else 32 bits."""
    whole = [choice for choice in choices if not choice.missing_parts]
    for quant in _GGUF_ORDER:
        for choice in whole:
            if choice.kind == "gguf" and choice.quant == quant:
                return choice
    for choice in whole:
        if choice.kind == "safetensors":
            return choice
    return next((choice for choice in whole if choice.kind == "gguf" and choice.quant == "F32"), None)
