"""The built-in list in use: read once, looked up by any of a model's repositories, and a help to the hub's facts."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from slmdesk.catalog import builtin
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.catalog.builtin import CatalogModel
    from slmdesk.catalog.records import CatalogEntry
    from slmdesk.formats.architecture import Architecture

_log = logging.getLogger(__name__)


class KnownModels:
    """The models of the built-in list. The first use reads its files (milliseconds); any thread may ask."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._models: dict[str, CatalogModel] | None = None
        self._by_repo: dict[str, CatalogModel] = {}
        self._architectures: dict[str, Architecture | None] = {}
        self.problem: SlmDeskError | None = None

    def models(self) -> tuple[CatalogModel, ...]:
        """All of them; none where the list cannot be read, which `problem` then tells."""
        return tuple(self._read().values())

    def entries(self) -> list[CatalogEntry]:
        """The models as lines of the catalog's lists."""
        return [model.entry() for model in self.models()]

    def model(self, repo: str) -> CatalogModel | None:
        """The model that a repository holds, in whatever format."""
        self._read()
        return self._by_repo.get(repo.lower())

    def gguf_repos(self, repo: str) -> tuple[str, ...]:
        """Repositories with GGUF files of the model in `repo`, the best known first; without `repo` itself."""
        model = self.model(repo)
        return tuple(one for one in model.repos.gguf if one.lower() != repo.lower()) if model else ()

    def architecture(self, repo: str) -> Architecture | None:
        """The model's architecture by the list's figures, None where it has none."""
        model = self.model(repo)
        if model is None:
            return None
        if model.id not in self._architectures:
            try:
                self._architectures[model.id] = builtin.architecture(model)
            except SlmDeskError as error:
                _log.warning("the figures of %s make no forecast: %s", model.id, error.message)
                self._architectures[model.id] = None
        return self._architectures[model.id]

    def completed(self, entry: CatalogEntry) -> CatalogEntry:
        """A hub's entry with what the list knows better or at all."""
        model = self.model(entry.id)
        if model is None:
            return entry
        known = model.entry()
        own = model.id.lower() == entry.id.lower()
        return replace(
            entry,
            parameters=known.parameters,
            formats=tuple(dict.fromkeys([*entry.formats, *(known.formats if own else ())])),
            licence=known.licence if entry.licence in {"", "other"} else entry.licence,
            task=entry.task or known.task,
            kind=known.kind,
            architecture=entry.architecture or known.architecture,
            context_length=known.context_length,
            languages=known.languages,
            built_in=own,
            repos=known.repos,
        )

    def _read(self) -> dict[str, CatalogModel]:
        with self._lock:
            if self._models is None:
                self._models = {}
                try:
                    loaded = builtin.load_builtin(self._folder)
                except SlmDeskError as error:
                    _log.error("%s", error.message)
                    self.problem = error
                    loaded = ()
                for model in loaded:
                    self._models[model.id] = model
                    for repo in (*model.repos.gguf, *model.repos.onnx, *model.repos.mlx):
                        self._by_repo.setdefault(repo.lower(), model)
                for model in loaded:  # a publisher's own repository always means its own model
                    self._by_repo[model.id.lower()] = model
            return self._models
