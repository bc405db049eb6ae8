"""The catalog's front: search, model pages, cards, comparisons. What the window and the command line call."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from slmdesk.catalog import hub_search, names
from slmdesk.catalog.cache import Cache
from slmdesk.catalog.choices import find, judged, usual_choice
from slmdesk.catalog.examining import MOST, Examiner, doubtful
from slmdesk.catalog.known import KnownModels
from slmdesk.catalog.pages import Card, Comparison, ModelPage, card_of, compare, listed_page, page_of, trimmed
from slmdesk.catalog.records import CatalogEntry, CatalogQuery, SearchPage, SearchResults, accepts
from slmdesk.core.cores import model_threads
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.hardware import memory
from slmdesk.formats.architecture import Architecture
from slmdesk.hub.access import LONGEST_WAIT_S
from slmdesk.hub.errors import HubError
from slmdesk.hub.repo import ask_repo

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from pathlib import Path

    from slmdesk.catalog.advise import Advice, Preferences
    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.index import CatalogIndex
    from slmdesk.core.database import Database
    from slmdesk.core.settings import Settings
    from slmdesk.engines.devices import DeviceList
    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.hub.access import HubAccess
    from slmdesk.memory.fit import Fit
    from slmdesk.memory.offload import DeviceRoom

_FRESH_S = 600.0  # what is younger is not asked for again
_SEARCH_S = 15.0 + LONGEST_WAIT_S  # a hub that answers no search in this time counts as down
_SPARSE = 8  # hub pages looked through for one page of results that pass our own filters
_CARD_LIMIT = 2_000_000
_LOCAL = 200
_log = logging.getLogger(__name__)


class Catalog:
    """Models that exist elsewhere. Cheap to make; `ready` reads what is known here.

    Nothing here needs the network: where the hub does not answer, the built-in list and what was seen before do,
    and a `note` says so in one line.
    """

    def __init__(
        self,
        hub: HubAccess,
        database: Database,
        settings: Settings,
        *,
        data: Path,
        resources: Path,
        devices: DeviceList | None = None,
    ) -> None:
        self._devices = devices
        self._hub = hub
        self._cache = Cache(database)
        self._settings = settings
        self._data = data
        self._known = KnownModels(resources / "catalog")
        self._index: CatalogIndex | None = None
        self._ready: asyncio.Task[None] | None = None
        self._examiner = Examiner(hub)
        self._architectures: dict[str, Architecture] = {}

    @property
    def known(self) -> KnownModels:
        """The built-in list."""
        return self._known

    async def ready(self) -> None:
        """Read the built-in list and the cache. The first call takes a moment, later ones none."""
        if self._ready is None or (self._ready.done() and self._ready.cancelled()):
            self._ready = asyncio.create_task(self._load())
        await asyncio.shield(self._ready)

    def instant(self, query: CatalogQuery, limit: int = _LOCAL) -> SearchResults:
        """What is known here already, in a few milliseconds. Empty before `ready`."""
        if self._index is None:
            return SearchResults((), 0)
        wanted = names.read(query.text)
        return self._index.search(replace(query, text=wanted.repo or wanted.words), limit)

    def entry(self, repo: str) -> CatalogEntry | None:
        """What is known here of a repository, without asking anybody."""
        return self._index.get(repo) if self._index else None

    # Search

    async def search(self, query: CatalogQuery) -> AsyncGenerator[SearchPage, None]:
        """Pages of results, for as long as the caller asks for more: first what is known here, then the hub's.

        The next page is fetched only when it is asked for. Cancelling or closing the iterator closes the
        connection. Does not raise because of a hub.
        """
        await self.ready()
        wanted = names.read(query.text)
        text = wanted.repo.rpartition("/")[2] if wanted.repo else wanted.words
        searched = replace(query, text=text)
        if wanted.repo:
            page = await self._exact(wanted.repo)
            if page is not None:
                yield page
        if query.sort == "relevance":
            known = self._known_matches(searched)
            if known:
                yield SearchPage(known, "built_in", more=True)
        async for page in self._hub_pages(searched):
            yield page

    async def _hub_pages(self, query: CatalogQuery) -> AsyncIterator[SearchPage]:
        next_page, shown = "", 0
        for number in itertools.count():
            entries: list[CatalogEntry] = []
            try:
                for _ in range(_SPARSE):
                    found, next_page = await self._one_page(query, number, next_page)
                    entries += [entry for entry in found if accepts(query, entry)]
                    if entries or not next_page:
                        break
            except SlmDeskError as error:
                async for page in self._without_hub(query, number, error):
                    yield page
                return
            shown += len(entries)
            yield SearchPage(tuple(entries), "hub", more=bool(next_page))
            if not next_page:
                return

    async def _one_page(
        self, query: CatalogQuery, number: int, next_page: str
    ) -> tuple[tuple[CatalogEntry, ...], str]:
        """A page of the hub, or of the cache while that is young. Raises `SlmDeskError`."""
        hub, key = self._hub.endpoint, f"{hub_search.key(query)} {next_page}"
        kept = await self._cache.search(hub, key, number)
        if kept is not None and kept.age_s < _FRESH_S:
            return self._merged(kept.entries), kept.next_page
        try:
            async with asyncio.timeout(_SEARCH_S):
                if next_page:
                    answer = await self._hub.get_json(next_page)
                else:
                    answer = await self._hub.get_json("/api/models", hub_search.parameters(query, query.text))
        except TimeoutError as error:
            raise HubError(
                "hub_timeout", f"{hub} did not answer in time.", "Try again in a while.", temporary=True
            ) from error
        listed = answer.data if isinstance(answer.data, list) else []
        entries = [entry for data in listed if (entry := hub_search.entry_of(data)) is not None]
        await self._cache.keep_search(hub, key, number, entries, answer.next_page)
        merged = self._merged(entries)
        if self._index is not None:
            await asyncio.to_thread(self._index.add, merged)
        return merged, answer.next_page

    async def _without_hub(
        self, query: CatalogQuery, number: int, error: SlmDeskError
    ) -> AsyncIterator[SearchPage]:
        """What the cache and the built-in list have, with the line that says why."""
        note = f"{error.message} These are models from the built-in list and earlier searches."
        if number:  # what the hub sent before stays; further pages cannot be had
            yield SearchPage((), "cache", note=f"{error.message} There is no more for now.", error=error)
            return
        found = self.instant(query)
        yield SearchPage(found.entries, "cache", note=note, error=error)

    async def _exact(self, repo: str) -> SearchPage | None:
        """The one model that was named, where there is such a one."""
        try:
            page = await self.model_page(repo)
        except SlmDeskError as error:
            if error.code in {"repo_not_found", "name_invalid"}:
                return SearchPage((), "hub", more=True, note=error.message, error=error)
            known = self.entry(repo)
            return SearchPage((known,), "cache", more=True) if known else None
        return SearchPage((self._merged([page.entry])[0],), "hub", more=True)

    def _known_matches(self, query: CatalogQuery) -> tuple[CatalogEntry, ...]:
        found = self.instant(query)
        return tuple(entry for entry in found.entries if entry.built_in)

    def _merged(self, entries: Sequence[CatalogEntry]) -> tuple[CatalogEntry, ...]:
        return tuple(self._known.completed(entry) for entry in entries)

    # One model

    async def model_page(self, repo: str, *, revision: str = "", refresh: bool = False) -> ModelPage:
        """A model's facts, files and choices. Raises `HubError` when neither hub nor cache knows it."""
        hub, name = self._hub.endpoint, f"model@{revision}" if revision else "model"
        kept = await self._cache.page(hub, repo, name)
        if kept is not None and kept.age_s < _FRESH_S and not refresh:
            return self._page(kept.data, repo)
        if not names.is_repo(repo) and not names.is_bare(repo):
            raise HubError(
                "name_invalid",
                f"{repo!r} is no name of a model on a hub.",
                "A model is named publisher/name.",
            )
        try:
            answer = await ask_repo(self._hub, repo, revision)
        except HubError as error:
            if kept is None or not (error.temporary or error.code in {"offline", "hub_answer_invalid"}):
                raise
            page = self._page(kept.data, repo)
            return replace(page, note=f"{error.message} This is what the hub said {_ago(kept.age_s)}.")
        data = trimmed(answer) if isinstance(answer, dict) else {}
        page = self._page(data, repo)
        await self._cache.keep_page(hub, repo, name, data)
        return page

    async def page_or_listed(self, repo: str, *, revision: str = "") -> ModelPage:
        """As `model_page`; where the hub cannot be asked, what the built-in list knows of the model."""
        try:
            return await self.model_page(repo, revision=revision)
        except HubError as error:
            model = await asyncio.to_thread(self._known.model, repo)
            if model is None or not (error.temporary or error.code == "offline"):
                raise
            note = f"{error.message} Sizes and memory are estimates from the built-in list."
            entry = replace(model.entry(), id=repo)
            return listed_page(entry, model.parameters, self._hub.page_url(repo), note)

    def _page(self, data: Any, repo: str) -> ModelPage:
        page = page_of(data, self._hub.page_url(repo))
        return replace(page, entry=self._known.completed(page.entry))

    async def card(self, repo: str, *, refresh: bool = False) -> Card:
        """The model's README; an empty one where there is none. Raises `HubError`."""
        hub = self._hub.endpoint
        kept = await self._cache.page(hub, repo, "card")
        if kept is not None and kept.age_s < _FRESH_S and not refresh:
            return card_of(str(kept.data))
        try:
            raw = await self._hub.get_file(repo, "README.md", count=_CARD_LIMIT)
        except HubError as error:
            if error.code == "file_not_found":
                return Card("", pictures=False)
            if kept is None:
                raise
            return card_of(str(kept.data), f"{error.message} This is the card of {_ago(kept.age_s)}.")
        text = raw.decode("utf-8", "replace")
        await self._cache.keep_page(hub, repo, "card", text)
        return card_of(text)

    async def quantized(self, repo: str) -> tuple[CatalogEntry, ...]:
        """Repositories with GGUF files made from this one: those of the built-in list first, then the most used."""
        known = [
            self.entry(one) or CatalogEntry(one, formats=("gguf",)) for one in self._known.gguf_repos(repo)
        ]
        asked = hub_search.parameters(CatalogQuery(formats=("gguf",), sort="downloads"), "")
        asked["filter"] = ["gguf", f"base_model:quantized:{repo}"]
        try:
            answer = await self._hub.get_json("/api/models", asked)
        except HubError:
            return tuple(known)
        listed = answer.data if isinstance(answer.data, list) else []
        found = [entry for data in listed if (entry := hub_search.entry_of(data)) is not None]
        return tuple({entry.id: entry for entry in [*known, *self._merged(found)]}.values())

    # Will it run here?

    async def judge(self, page: ModelPage, *, context: int = 0) -> ModelPage:
        """The page with a forecast for each choice that runs here, and the best one marked. `context` 0: the usual.

        Does not raise: a model whose architecture cannot be learned is left without forecasts.
        """
        page = await self.examined(page)
        try:
            architecture = await self.architecture(page)
        except SlmDeskError as error:
            _log.info("no forecast for %s: %s", page.repo, error.message)
            architecture = None
        room = await self._room()
        for _ in range(MOST):
            made = await asyncio.to_thread(self._judged, page, architecture, context, room)
            best = made.best
            if best is None:
                return made
            page = await self._examiner.looked_into(page, [best])  # one that is called best was looked into
            if any(one.runs and one.files == best.files for one in page.choices):
                return made
        return replace(made, choices=tuple(replace(one, best=False) for one in made.choices))

    async def choose(self, page: ModelPage, wanted: str = "", *, context: int = 0) -> Choice:
        """The choice of that name or file; without one the best that fits this machine, or the usual quant.

        Raises `choice_not_found` or `nothing_to_choose`.
        """
        if wanted:
            page = await self.examined(page)
            found = find(page.choices, wanted)
            if found is None:
                raise SlmDeskError(
                    "choice_not_found",
                    f"{page.repo} is not there as {wanted}.",
                    f"There are: {', '.join(one.id for one in page.choices[:12])}." if page.choices else "",
                )
            return found
        page = await self.judge(page, context=context)
        usual = page.best or usual_choice(page.choices)
        if usual is None:
            raise SlmDeskError(
                "nothing_to_choose",
                f"{page.repo} holds no model file that could be chosen for you.",
                "Name a file: publisher/name/FILE.",
            )
        return usual

    async def examined(self, page: ModelPage) -> ModelPage:
        """The page with its odd GGUF files called what their headers say they are: draft heads, adapters, projectors,
        models for something else. A few kilobytes of each are read once. Does not raise."""
        return await self._examiner.looked_into(page, doubtful(page.choices))

    async def _room(self) -> DeviceRoom | None:
        """The GPU that would take layers, where one is used."""
        if self._devices is None or not self._settings.get("engine.gpu_layers"):
            return None
        return (await self._devices.now()).room

    def _judged(
        self, page: ModelPage, architecture: Architecture | None, context: int, room: DeviceRoom | None
    ) -> ModelPage:
        from slmdesk.memory.fit import calibration_in, fit, loading_of

        loading = loading_of(self._settings, context=context)
        correction = calibration_in(self._data).correction()
        available = memory()[1]

        def fit_of(choice: Choice) -> Fit | None:
            if architecture is None:
                return None
            return fit(
                architecture,
                choice.weights_bytes,
                loading,
                available=available,
                calibration=correction,
                room=room,
            )

        choices = judged(page.choices, fit_of, parameters=page.entry.parameters)
        return replace(page, choices=tuple(choices), architecture=architecture)

    async def architecture(self, page: ModelPage) -> Architecture:
        """What decides the model's memory: from the built-in list, its config.json, or the header of a GGUF file.

        Raises `SlmDeskError` when none of them can be had.
        """
        key = f"{page.repo}@{page.info.revision}"
        if key not in self._architectures:
            self._architectures[key] = await self._architecture(page)
        return self._architectures[key]

    async def _architecture(self, page: ModelPage) -> Architecture:
        known = self._known.architecture(page.repo)
        if known is not None:
            return known
        problem: SlmDeskError | None = None
        if any(file.path == "config.json" for file in page.info.files):
            try:
                return Architecture.from_config(await self._config(page.repo))
            except SlmDeskError as error:
                problem = error
        file = min((one for one in page.choices if one.runs), key=lambda one: one.weights_bytes, default=None)
        if file is not None and file.files:
            first = file.files[0]
            header = await self.header(
                page.repo, first.path, revision=page.info.revision or "main", file_bytes=first.size
            )
            return Architecture.from_gguf(header)
        raise problem or SlmDeskError(
            "architecture_unknown", f"{page.repo} does not say how it is built.", "Look at its other files."
        )

    async def _config(self, repo: str) -> dict[str, Any]:
        hub = self._hub.endpoint
        kept = await self._cache.page(hub, repo, "config")
        if kept is None or kept.age_s > _FRESH_S:
            try:
                data = json.loads(await self._hub.get_file(repo, "config.json", count=4_000_000))
            except (ValueError, RecursionError) as error:
                raise SlmDeskError(
                    "architecture_unknown",
                    f"The config.json of {repo} is no JSON.",
                    "Look at its other files.",
                ) from error
            except HubError:
                if kept is None:
                    raise
                data = kept.data
            else:
                await self._cache.keep_page(hub, repo, "config", data)
        else:
            data = kept.data
        return data if isinstance(data, dict) else {}

    async def header(
        self, repo: str, path: str, *, revision: str = "main", file_bytes: int = 0
    ) -> GgufHeader:
        """The header of a GGUF file on the hub, by range requests. Raises `HubError` and the gguf codes."""
        from slmdesk.formats.remote import read_remote_header

        async def fetch(start: int, end: int) -> bytes:
            return await self._hub.get_file(repo, path, revision=revision, start=start, count=end - start)

        return await self._hub.aside(lambda: read_remote_header(fetch, name=path, file_bytes=file_bytes))

    async def compare(self, repos: Sequence[str], *, context: int = 0) -> Comparison:
        """Two to four models side by side. Raises `compare_count` and `HubError`."""
        if not 2 <= len(repos) <= 4:
            return compare(())
        pages = await asyncio.gather(*(self.model_page(repo) for repo in repos))
        return compare(await asyncio.gather(*(self.judge(page, context=context) for page in pages)))

    async def advise(self, answers: Preferences) -> list[Advice]:
        """Help me choose: a ranked short list for this machine as it is now, never one that does not fit."""
        return await asyncio.to_thread(self._advised, answers, await self._room())

    def _advised(self, answers: Preferences, room: DeviceRoom | None) -> list[Advice]:
        from slmdesk.catalog.advise import advise
        from slmdesk.memory.fit import calibration_in, loading_of

        return advise(
            self._known,
            answers,
            available=memory()[1],
            cores=model_threads(),
            loading=loading_of(self._settings),
            calibration=calibration_in(self._data).correction(),
            room=room,
        )

    async def close(self) -> None:
        """Wait for what is being read."""
        if self._ready is not None and not self._ready.done():
            self._ready.cancel()
            await asyncio.gather(self._ready, return_exceptions=True)

    async def _load(self) -> None:
        await asyncio.to_thread(
            import_module, "slmdesk.catalog.index"
        )  # brings numpy: not at a program's start
        from slmdesk.catalog.index import CatalogIndex

        known = await asyncio.to_thread(self._known.entries)
        self._index = await asyncio.to_thread(
            CatalogIndex, known
        )  # typing finds these while the cache is read
        await self._cache.tidy()
        seen = await self._cache.entries()
        if seen:
            merged = await asyncio.to_thread(self._merged, seen)
            self._index = await asyncio.to_thread(CatalogIndex, [*known, *merged])


def _ago(seconds: float) -> str:
    for unit, size in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "a moment ago"
