"""Which GGUF files of a repository are models: told by their headers where names and sizes leave a doubt."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from slmdesk.catalog.choices import ChoiceKind, named_apart
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf_start import FIRST_BYTES, start_of
from slmdesk.formats.purpose import Companion, companion_kind, not_for_chat
from slmdesk.formats.quants import quant_named
from slmdesk.formats.remote import read_remote_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.pages import ModelPage
    from slmdesk.hub.access import HubAccess
    from slmdesk.hub.repo import RepoFile

MOST = 12  # headers of one repository that are looked into
_MUCH_SMALLER = 0.6  # of the weights that the largest one has
_PATIENCE_S = 20.0
_log = logging.getLogger(__name__)
_KINDS: dict[Companion, ChoiceKind] = {
    "projector": "projector",
    "draft": "draft",
    "adapter": "adapter",
    "control vector": "adapter",
    "matrix": "matrix",
}


def doubtful(choices: Sequence[Choice]) -> list[Choice]:
    """What should be looked into: much smaller than the others, or called like something that goes with a model."""
    models = [one for one in choices if one.kind == "gguf" and one.files]
    largest = max(map(_weights, models), default=0.0)
    odd = [one for one in models if _weights(one) < _MUCH_SMALLER * largest]
    guessed = [one for one in choices if one.kind in {"adapter", "draft"} and _is_gguf(one)]
    return sorted(odd + guessed, key=lambda one: one.weights_bytes)[:MOST]


class Examiner:
    """Looks into the files of a hub. What was read once is remembered."""

    def __init__(self, hub: HubAccess) -> None:
        self._hub = hub
        self._known: dict[tuple[str, str, str], ChoiceKind] = {}

    async def looked_into(self, page: ModelPage, which: Sequence[Choice]) -> ModelPage:
        """The page with the kinds that the headers of `which` tell, each choice with an id of its own.

        A few kilobytes of each are fetched. Does not raise: what cannot be read stays what it was taken for.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.gather(*(self._look(page, one) for one in which if one.files))
        choices = [self._called(page, one) for one in page.choices]
        return replace(page, choices=tuple(named_apart(choices)))

    async def _look(self, page: ModelPage, choice: Choice) -> None:
        key = _key(page, choice)
        if key not in self._known:
            kind = await self._kind(page, choice.files[0], alone=len(choice.files) == 1)
            if kind is not None:
                self._known[key] = kind

    def _called(self, page: ModelPage, choice: Choice) -> Choice:
        kind = self._known.get(_key(page, choice), choice.kind) if choice.files else choice.kind
        if kind == choice.kind:
            return choice
        return replace(choice, kind=kind, bits_per_weight=0.0, imatrix=False)

    async def _kind(self, page: ModelPage, file: RepoFile, *, alone: bool) -> ChoiceKind | None:
        revision = page.info.revision or "main"

        async def fetch(start: int, end: int) -> bytes:
            return await self._hub.get_file(
                page.repo, file.path, revision=revision, start=start, count=end - start
            )

        try:
            header = start_of(file.path, await fetch(0, min(FIRST_BYTES, file.size or FIRST_BYTES)))
            if header is not None and alone and header.number("nextn_predict_layers") > 0:
                # Only its tensors tell a model that drafts for itself from the draft head alone.
                header = await read_remote_header(fetch, name=file.path, file_bytes=file.size)
        except SlmDeskError as error:
            _log.info("%s of %s was not looked into: %s", file.path, page.repo, error.message)
            return None
        if header is None:
            return None
        companion = companion_kind(header)
        if companion is not None:
            return _KINDS[companion]
        return "other" if not_for_chat(header) is not None else "gguf"


def _key(page: ModelPage, choice: Choice) -> tuple[str, str, str]:
    return page.repo, page.info.revision, choice.files[0].path


def _weights(choice: Choice) -> float:
    """Roughly how many weights there are, by size and quant."""
    known = quant_named(choice.quant)
    return choice.weights_bytes * 8 / (known.bits if known is not None else 5.0)


def _is_gguf(choice: Choice) -> bool:
    return bool(choice.files) and PurePosixPath(choice.files[0].path).suffix.lower() == ".gguf"
