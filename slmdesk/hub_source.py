"""Quantizing a model that is still on the hub: it is downloaded as every model is, and then quantized.

The download is a job of its own, which a person can pause and which stays when the quants are made; the job that
quantizes waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.pulling import PullRequest
from slmdesk.quantize.room import Fetch, Quantizable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.catalog.catalog import Catalog
    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.pages import ModelPage
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.pulling import Pulling
    from slmdesk.quantize.request import Request
    from slmdesk.quantize.room import Quantizing

_GGUF_ORDER = ("BF16", "F16")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository with full weights: what would be downloaded of it, and about how many parameters it has."""

    page: ModelPage
    choice: Choice
    parameters: int

    @property
    def repo(self) -> str:
        return self.page.repo


class HubQuantizing:
    """Looks at what the catalog knows, downloads as everybody does, and quantizes what came."""

    def __init__(self, catalog: Catalog, pulling: Pulling, quantizing: Quantizing) -> None:
        self._catalog = catalog
        self._pulling = pulling
        self._quantizing = quantizing

    async def look(self, repo: str, *, revision: str = "", refresh: bool = False) -> HubModel:
        """What can be quantized of a repository.

        Raises `source_unsuitable` for one without full weights, and what the hub answers (`repo_not_found`, …).
        """
        page = await self._catalog.model_page(repo, revision=revision, refresh=refresh)
        choice = full_weights(page.choices)
        if choice is None:
            raise SlmDeskError(
                "source_unsuitable",
                f"{page.repo} holds no full weights: neither safetensors nor a GGUF in F16, BF16 or F32.",
                "Choose the repository of the model's maker; quants are no source for other quants.",
            )
        # Most weights take two bytes where nobody says how many there are.
        return HubModel(page, choice, page.entry.parameters or choice.weights_bytes // 2)

    async def start(self, request: Request, *, revision: str = "") -> tuple[Job, Job]:
        """Start the download of `request.model` (a repository) and the job that quantizes what came: both jobs.

        Raises what `look`, planning a download, starting it, and `Quantizing.start` raise; then nothing was started.
        """
        request = request.checked()
        found = await self.look(request.model, revision=revision, refresh=True)
        choice = found.choice
        pull = await self._pulling.plan(
            PullRequest(found.repo, revision=revision, page=found.page, choice=choice)
        )
        plan = pull.plan
        path = plan.folder
        if choice.kind == "gguf":
            path = min(plan.target(file) for file in plan.files if file.local.lower().endswith(".gguf"))
        origin = Quantizable(plan.repo, path, plan.folder)
        await self._quantizing.refuse(request, Fetch("", origin, choice.quant))
        download = await self._pulling.start(pull)
        return download, await self._quantizing.start(request, fetch=Fetch(download.id, origin, choice.quant))


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
