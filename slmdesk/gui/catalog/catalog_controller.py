"""What happens between the Catalog page and the catalog: searches, pages, forecasts, downloads."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.core.error_codes import DANGEROUS, LICENCE, TOKEN
from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.catalog.row_words import BestOffer, estimate, gguf_repo, good_for, offer_of, repos_of
from slmdesk.gui.downloads import words as job_words
from slmdesk.gui.downloads.when_ready import wish_chat
from slmdesk.gui.opening import open_url
from slmdesk.gui.tasks import in_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from pathlib import Path

    from slmdesk.catalog.advise import Priority, Use
    from slmdesk.catalog.catalog import Catalog
    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.pages import ModelPage
    from slmdesk.catalog.records import CatalogEntry, CatalogQuery
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.catalog.catalog_view import CatalogView
    from slmdesk.gui.page import Remedy, WindowServices
    from slmdesk.library.records import LibraryFile

TYPED_S = 0.3
"""The hub is asked this long after the last key; what is known here shows at once."""
AT_ONCE = 120
CLOSER = 8
"""Rows looked at more closely in one rest."""
BARREN = 3
"""After so many pages of the hub without anything new the search rests."""
LAYOUT_S = 0.05


class CatalogController:
    """Holds the running search, the open page and what is known of the rows."""

    def __init__(self, services: WindowServices, view: CatalogView) -> None:
        self._services = services
        self._view = view
        self._searching: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._wants_more: asyncio.Event | None = None  # of the search that goes on
        self._offers: dict[str, BestOffer] = {}
        self._available = 0
        self._here: dict[str, tuple[str, int]] = {}  # id and size, by repository and place in it
        self._repos_here: set[str] = set()
        self._coming: dict[str, float] = {}
        self._entry: CatalogEntry | None = None
        self._page: ModelPage | None = None
        self._repo = ""
        self._download_entry = ""
        self._pending: tuple[ModelPage, Choice] | None = None
        self._compared: list[str] = []
        self._done = 0
        services.jobs.changed.connect(self.jobs_changed)

    @property
    def _catalog(self) -> Catalog:
        return self._services.application.catalog

    def refresh(self) -> None:
        """The page was opened: memory and library may be others now."""
        from slmdesk.core.hardware import memory

        total, self._available = memory()
        self._view.detail.show_memory(total)
        self._view.show_free_memory(self._available)
        self._services.run(self._look_here(), "looking at the library")

    # Searching

    def search(self, query: CatalogQuery) -> None:
        """Begin a search; the one before ends at once."""
        if self._searching is not None:
            self._searching.cancel()
        self._searching = self._services.run(self._search(query), "searching the catalog")

    def more(self) -> None:
        """The end of the list is near."""
        if self._wants_more is not None:
            self._wants_more.set()

    async def _search(self, query: CatalogQuery) -> None:
        from asyncio import Event, sleep

        view, wants_more = self._view, Event()
        self._wants_more = wants_more
        await self._catalog.ready()
        found = await in_thread(self._catalog.instant, query, AT_ONCE)
        view.show_results(await self._in_order(query, found.entries), from_top=True)
        if self._entry is not None:
            view.mark_result(self._entry.id)
        view.show_found(searching=True)
        await sleep(TYPED_S)
        ordered = query.sort != "relevance"
        fresh, barren = ordered, 0
        async with aclosing(self._catalog.search(query)) as pages:
            async for page in pages:
                view.show_note(page.note, self._remedy())
                if fresh and page.entries:
                    view.show_results(page.entries, from_top=False)
                    fresh = False
                    new = len(page.entries)
                else:
                    new = view.add_results(page.entries)
                view.show_found(searching=page.more)
                if page.source == "hub":
                    barren = 0 if new else barren + 1
                    await self._until_more(wants_more, rest=barren >= BARREN)
        view.show_found(searching=False)

    async def _in_order(self, query: CatalogQuery, entries: Sequence[CatalogEntry]) -> Sequence[CatalogEntry]:
        """Before anything is typed: what suits this machine best first, embedding models last."""
        if query.text or query.sort != "relevance":
            return entries
        from slmdesk.catalog.advise import Preferences

        advised = await self._catalog.advise(Preferences())
        places = {advice.model.id: place for place, advice in enumerate(advised)}
        return sorted(
            entries, key=lambda entry: (places.get(entry.id, len(places)), entry.kind == "embedding")
        )

    async def _until_more(self, wants_more: asyncio.Event, *, rest: bool) -> None:
        """Wait until the person nears the end of the list; with `rest` also where the list does not fill the view."""
        from asyncio import sleep

        await sleep(LAYOUT_S)
        if self._view.fills_view() or rest:
            wants_more.clear()
            await wants_more.wait()

    # Rows

    def good_for(self, entry: CatalogEntry) -> str:
        """One line on what a model is good for."""
        return good_for(entry, self._catalog)

    def offer_of(self, entry: CatalogEntry) -> BestOffer:
        """The best choice of a model for this machine, as far as it is known."""
        known = self._offers.get(entry.id)
        return known if known is not None else estimate(entry, self._available)

    def state_of(self, entry: CatalogEntry) -> str:
        """ "Here", "48 %" while it comes, or ""."""
        repos = [repo.lower() for repo in repos_of(entry)]
        share = next((self._coming[repo] for repo in repos if repo in self._coming), None)
        if share is not None:
            return f"{share:.0%}"
        return "Here" if any(repo in self._repos_here for repo in repos) else ""

    def look_closer(self, entries: list[CatalogEntry]) -> None:
        """Find the best choice of the rows in sight, one after the other."""
        if self._closer is not None and not self._closer.done():
            self._closer.cancel()
        wanted = [entry for entry in entries if entry.id not in self._offers and gguf_repo(entry)]
        if wanted and not self._services.application.hub.offline:
            self._closer = self._services.run(self._look_closer(wanted[:CLOSER]), "looking at results")

    async def _look_closer(self, entries: list[CatalogEntry]) -> None:
        for entry in entries:
            try:
                page = await self._catalog.model_page(gguf_repo(entry))
                page = await self._catalog.judge(page)
            except SlmDeskError:
                # A row keeps its estimate; opening the model says what is wrong.
                if not self._view.has_result(entry.id):
                    return
                continue
            self._learn(entry.id, page)

    def _learn(self, entry_id: str, page: ModelPage) -> None:
        best = page.best or next((one for one in page.choices if one.reason), None)
        if best is not None:
            self._offers[entry_id] = offer_of(best)
            self._view.show_result_anew(entry_id)

    # One model

    def open(self, entry: CatalogEntry) -> None:
        """Show a model of the list."""
        if self._entry is not None and entry.id == self._entry.id and self._page is not None:
            return
        self._entry = entry
        self._download_entry = ""
        self._pending = None
        repos = repos_of(entry)
        compared = gguf_repo(entry) in self._compared
        self._page = None
        self._view.detail.show_entry(entry, self.good_for(entry), repos, compared=compared)
        self._view.mark_result(entry.id)
        self.open_files(repos[0])

    def open_repo(self, repo: str, *, ask_token: bool = False) -> None:
        """Show a model that need not be in the list."""
        from slmdesk.catalog.records import CatalogEntry

        known = self._catalog.known.model(repo)
        entry = known.entry() if known is not None else self._catalog.entry(repo) or CatalogEntry(repo)
        self._entry = None
        self._view.show_detail()
        self.open(entry)
        if ask_token:
            error = SlmDeskError(
                "token_missing",
                f"{repo} is given only to people the hub knows.",
                "Make an access token on the hub and enter it here.",
            )
            self._view.detail.show_problem(error, None, self._address)

    @property
    def _address(self) -> str:
        """The page on the hub of what is shown."""
        return self._page.url if self._page else self._services.application.hub.page_url(self._repo)

    def open_files(self, repo: str = "") -> None:
        """Show the files of another repository of the model; "" asks again for those of the same."""
        repo = repo or self._repo
        if self._opening is not None:
            self._opening.cancel()
        self._repo = repo
        self._opening = self._services.run(self._open(repo), "opening a model")

    async def _open(self, repo: str) -> None:
        entry, detail = self._entry, self._view.detail
        assert entry is not None
        detail.show_problem(None)
        try:
            page = self._page = await self._catalog.page_or_listed(repo)
            detail.show_page(page, self._remedy(), judged=False)
            page = self._page = await self._catalog.judge(page, context=detail.context)
        except SlmDeskError as error:
            remedy = self._remedy() if error.code == "offline" else None
            detail.show_problem(error, remedy, self._address)
            return
        detail.show_page(page, self._remedy(), judged=True)
        self.jobs_changed()
        if page.listed:
            return
        await self._services.application.downloads.ready()
        self._learn(entry.id, page)
        if self._download_entry == entry.id:
            self._download_entry = ""
            if page.best is not None:
                self._begin(page, page.best)
        await self._complete(entry, page)

    def _remedy(self) -> Remedy | None:
        """The way to a hub from here, where the person keeps the program from the network; else None."""
        settings = self._services.application.settings
        if not settings.get("network.offline") or settings.source("network.offline") == "environment":
            return None

        async def go_online() -> None:
            await in_thread(settings.set, "network.offline", False)

        return "Go online", lambda: self._services.run(go_online(), "going online")

    def network_changed(self) -> None:
        """What could not be asked for may be now, and what failed is told as what it is now."""
        if self._entry is not None and (self._page is None or self._page.listed):
            self._page = None
            self._view.detail.forget_page()
            self.open_files()

    async def _complete(self, entry: CatalogEntry, page: ModelPage) -> None:
        """The card, and other repositories with files that run: nice to have."""
        try:
            original = entry.id if entry.id != page.repo and entry.built_in else page.repo
            self._view.detail.show_card(await self._catalog.card(original))
        except SlmDeskError:
            self._view.detail.show_card(None)
        if not any(choice.runs for choice in page.choices) and not gguf_repo(entry):
            others = [one.id for one in await self._catalog.quantized(page.repo)]
            if others:
                self._view.detail.show_repos([page.repo, *others], page.repo)

    def judge_again(self, context: int) -> None:
        """Forecast for a context of so many tokens; 0: the usual one."""
        if self._page is not None:
            self._services.run(self._judge(self._page, context), "forecasting")

    async def _judge(self, page: ModelPage, context: int) -> None:
        judged = await self._catalog.judge(page, context=context)
        if self._page is not None and self._page.repo == page.repo:
            self._page = judged
            self._view.detail.show_page(judged, self._remedy(), judged=True)

    def show_on_hub(self) -> None:
        """Open the model's page in the browser."""
        open_url(self._address)

    # Downloading

    def download_best(self, entry_id: str) -> None:
        """The person wants the best choice of a row; its page may still be coming."""
        page = self._page
        if self._entry is None or self._entry.id != entry_id:
            return
        if page is not None and page.best is not None:
            self._begin(page, page.best)
        else:
            self._download_entry = entry_id

    def download(self, choice: Choice) -> None:
        """Fetch one of the files of the model that is shown."""
        if self._page is not None:
            self._begin(self._page, choice)

    def _begin(self, page: ModelPage, choice: Choice, *, insist: bool = False) -> None:
        self._services.run(self._download(page, choice, insist=insist), "starting a download")

    async def _download(self, page: ModelPage, choice: Choice, *, insist: bool) -> None:
        from slmdesk.pulling import PullRequest

        application, detail = self._services.application, self._view.detail
        detail.show_problem(None)
        detail.put_gate_away()
        detail.show_starting(on=True)
        try:
            request = PullRequest(page.repo, page=page, choice=choice, insist=insist, name=page.entry.name)
            job = await application.pulling.pull(request)
        except SlmDeskError as error:
            if error.code in TOKEN | LICENCE:
                self._pending = (page, choice)
            action = None
            if error.code in DANGEROUS:
                action = ("Download it anyway", lambda: self._begin(page, choice, insist=True))
            elif error.code == "disk_full":
                action = ("Make room in the library", lambda: self._services.go_to("library"))
            detail.show_problem(error, action, self._address)
            return
        finally:
            detail.show_starting(on=False)
        if detail.chat_when_ready and choice.runs:
            wish_chat(self._services.state, job.id)

    def jobs_changed(self) -> None:
        """Downloads went on, or ended."""
        jobs = self._services.jobs.jobs
        self._coming = {
            str(job.parameters.get("repo", "")).lower(): job_words.share_of(job)
            for job in jobs
            if job.kind == "download" and job.state in {"queued", "running", "paused"}
        }
        done = sum(job.state == "done" for job in jobs)
        if done != self._done:
            self._done = done
            self._services.run(self._look_here(), "looking at the library")
        self._view.detail.show_job(self._job_of(self._page))
        self._view.show_results_anew()

    def _job_of(self, page: ModelPage | None) -> Job | None:
        if page is None:
            return None
        for job in self._services.jobs.jobs:
            same = job.kind == "download" and job.parameters.get("repo") == page.repo
            if same and job_words.section_of(job) == "active":
                return job
        return None

    def file_here(self, repo: str, choice: Choice) -> str:
        """The library's id of a choice that is here; "" when it is not."""
        if not choice.runs or not choice.files:
            return ""
        path = choice.files[0].path
        found = self._here.get(f"{repo}/{path}".lower())
        if found is None:  # brought here by another way, without the hub's folders
            found = self._here.get(f"{repo}/{path.rpartition('/')[2]}".lower())
            found = found if found and found[1] == choice.weights_bytes else None
        return found[0] if found else ""

    async def _look_here(self) -> None:
        models = await self._services.application.library.models()
        # By the files' names: what a name says of a quant and what the header says may differ.
        self._here = {
            f"{model.id}/{_place_of(file, part)}".lower(): (file.id, file.size_bytes)
            for model in models
            for file in model.files
            if file.problem is None
            for part in file.parts
        }
        self._repos_here = {"/".join(key.split("/")[:2]) for key in self._here}
        self._view.detail.show_job(self._job_of(self._page))
        self._view.show_results_anew()

    # Token and licence

    def take_token(self, token: str) -> None:
        """Keep an access token that the person entered, and try again with it."""
        self._services.run(self._keep_token(token), "keeping the token")

    async def _keep_token(self, token: str) -> None:
        from slmdesk.hub.errors import HubError

        detail = self._view.detail
        try:
            kept = await self._services.application.logins.keep_token(
                token
            )  # a locked keyring asks the person first
        except HubError as error:
            detail.show_wrong_token(f"{error.message} {error.hint}".strip())
            return
        finally:
            detail.show_token_checked()
        detail.put_gate_away()
        where = f" It counts until you close. {kept.problem.message}" if kept.problem is not None else ""
        if kept.overruled:
            where = " The variable HF_TOKEN goes before it as long as it is set."
        self._services.toast(f"The hub knows you as {kept.name}.{where}")
        self.try_again()

    def try_again(self) -> None:
        """The person did what was asked of them: go on where it stopped."""
        self._view.detail.put_gate_away()
        if self._pending is not None:
            page, choice = self._pending
            self._pending = None
            self._begin(page, choice)
        else:
            self.open_files()

    # Side by side, and advice

    def choose_for_comparing(self, on: bool) -> None:
        """Compare the model that is shown with others, or no longer."""
        repo = self._repo
        self._compared = [one for one in self._compared if one != repo]
        if on:
            self._compared = [*self._compared, repo][-4:]
        self._view.show_compared(self._compared)

    def clear_compared(self) -> None:
        self._compared = []
        self._view.show_compared([])
        self._view.detail.show_compared(on=False)

    def compare(self) -> None:
        """Show the models chosen side by side."""
        self._services.run(self._side_by_side(), "comparing models")

    async def _side_by_side(self) -> None:
        try:
            self._view.show_comparison(await self._catalog.compare(self._compared))
        except SlmDeskError:
            self._view.close_sheet()
            raise

    def advise(self, use: Use, priority: Priority, language: str) -> None:
        """Show which models suit this machine and these answers; `language` is a code, "" for English alone."""
        self._services.run(self._advise(use, priority, language), "choosing a model")

    async def _advise(self, use: Use, priority: Priority, language: str) -> None:
        from slmdesk.catalog.advise import Preferences
        from slmdesk.core import cores
        from slmdesk.core.hardware import memory

        total, available = memory()
        physical = (await in_thread(cores.look)).physical
        self._view.show_machine(
            f"This machine has {amounts.size(total)} of memory, {amounts.size(available)} of it free now, "
            f"and {amounts.counted(physical, 'core')}."
        )
        answers = Preferences(use, priority, (language,) if language else ())
        self._view.show_advice(await self._catalog.advise(answers))


def _place_of(file: LibraryFile, part: Path) -> str:
    """Where a file lies in its model's folder, as the hub writes it; its name where it lies elsewhere."""
    inside = file.home is not None and file.home in part.parents
    return part.relative_to(file.home).as_posix() if inside and file.home else part.name
