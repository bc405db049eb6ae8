"""What happens between the Library page and the library: listing, checks, imports, removals, leftovers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QTimer

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.library.file_step import field_of
from slmdesk.gui.library.notice import LibraryNotice
from slmdesk.gui.opening import open_path
from slmdesk.gui.tasks import in_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from slmdesk.application import Application
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.page import WindowServices
    from slmdesk.library.candidates import Candidate
    from slmdesk.library.duplicates import Equal
    from slmdesk.library.importing import Mode
    from slmdesk.library.orphans import Orphan
    from slmdesk.library.records import LibraryFile, LibraryModel
    from slmdesk.library.requests import EqualResult
    from slmdesk.library.sources import ImportSource
    from slmdesk.library.stamp import Stamp
    from slmdesk.library.usage import DiskUsage

WATCH_MS = 2_000
KINDS = frozenset({"download", "import", "verify", "duplicates", "move-folder", "quantize", "file tool"})


_NOTED = " What Ollama runs them with counts here too; each model's page shows it."


class LibraryView(Protocol):
    """What the controller shows."""

    @property
    def in_sight(self) -> bool:
        """Whether the page is the one that is shown."""
        ...

    def show_models(self, models: list[LibraryModel]) -> None: ...
    def show_usage(self, usage: DiskUsage) -> None: ...
    def show_loading(self, *, on: bool) -> None: ...
    def show_imported(self, model_id: str) -> None: ...
    def wait_for_imports(self) -> None: ...
    def show_candidates(self, found: Sequence[Candidate]) -> None: ...
    def close_imports(self) -> None: ...
    def say(self, notice: LibraryNotice) -> None: ...
    def unsay(self, key: str) -> None: ...


class LibraryController:
    """Holds what runs; the view shows it."""

    def __init__(self, services: WindowServices, view: LibraryView) -> None:
        self._services = services
        self._view = view
        self._sources: list[ImportSource] = []
        self._looking: asyncio.Task[None] | None = None
        self._looked_for_orphans = False
        self._stamp: Stamp | None = None
        self._watch = QTimer()
        self._watch.setInterval(WATCH_MS)
        self._watch.timeout.connect(lambda: services.run(self._notice(), "watching the models folders"))
        services.jobs.ended.connect(self.job_ended)

    @property
    def _app(self) -> Application:
        return self._services.application

    # Listing

    def watch(self, *, on: bool) -> None:
        """While the page is shown: notice what the command line and other programs do to the folders."""
        if on:
            self._watch.start()
        else:
            self._watch.stop()

    async def _notice(self) -> None:
        from slmdesk.library.stamp import stamp

        before, now = self._stamp, await in_thread(stamp, self._app.library.folders)
        if before is not None and before != now:
            self._app.library.forget_listing()
            self.refresh()

    def refresh(self) -> None:
        """List the models anew."""
        if self._looking is None or self._looking.done():
            self._looking = self._services.run(self._refresh(), "listing the library")

    async def _refresh(self) -> None:
        from slmdesk.library.sources import standard_sources
        from slmdesk.library.stamp import stamp
        from slmdesk.library.usage import usage

        library = self._app.library
        self._stamp = await in_thread(stamp, library.folders)
        self._view.show_models(await library.models(every_format=True))
        if await library.check_starter():  # the first time: then it is verified, or damaged
            self._view.show_models(await library.models(every_format=True))
        missing = [problem for problem in library.problems if problem.code == "folder_missing"]
        words = " ".join(f"{problem.message}" for problem in missing)
        self._view.say(
            LibraryNotice(
                "missing",
                f"{words} Its models are listed and come back with it." if missing else "",
                "Folders",
                lambda: self._services.go_to("settings"),
                "offline",
                "caution",
            )
        )
        self._view.show_usage(await usage(library))
        self._sources = await in_thread(standard_sources)
        if not self._looked_for_orphans:
            self._looked_for_orphans = True
            await self._orphans(quiet=True)

    def job_ended(self, job: Job) -> None:
        """A job may have changed the library."""
        if job.kind not in KINDS or job.state != "done":
            return
        self._app.library.forget_listing()
        result = job.result or {}
        if job.kind == "verify":
            self._services.toast(verified_words(result.get("states", {})))
        elif job.kind == "import":
            self._came(result)
        elif job.kind == "duplicates":
            from slmdesk.library.requests import EqualResult

            self._equal_found(EqualResult.from_json(result))
        elif job.kind == "move-folder":
            self._services.run(self._folder_moved(), "reading the settings")
        if self._view.in_sight:
            self.refresh()

    async def _folder_moved(self) -> None:
        await in_thread(self._app.settings.load)
        self._services.toast("The models folder has moved.")

    # Checking

    def verify(self, files: list[LibraryFile], title: str) -> None:
        """Check files by their hashes, in the process that does jobs; without files, all of them."""
        self._services.run(self._verify(files, title), f"checking {title}")

    async def _verify(self, files: list[LibraryFile], title: str) -> None:
        await self._app.library_actions.verify(files, title)
        self._say_queued(f"Checking {title}.")

    def verify_all(self) -> None:
        """Check every file of the library."""
        self.verify([], "all models")

    def check_upstream(self) -> None:
        """Ask the hub whether there are newer versions."""
        self._services.run(self._upstream(), "looking for newer versions")

    async def _upstream(self) -> None:
        models = await self._app.library.models(every_format=True)
        files = [file for model in models for file in model.files if not file.shipped]
        checks = await self._app.upstream.check(files)
        changed = sum(bool(check.changed) for check in checks)
        failed = next((check.problem for check in checks if check.problem is not None), None)
        if failed is not None and not changed:
            raise failed
        self._services.toast(
            f"{amounts.counted(changed, 'file')} changed upstream."
            if changed
            else "All files are the newest."
        )
        self._app.library.forget_listing()
        self.refresh()

    # One file on other pages

    def chat(self, file: LibraryFile) -> None:
        """Begin a chat with it."""
        self._services.visit.chat_with(file.id)

    def quantize(self, file: LibraryFile) -> None:
        """Take it as the source of quants."""
        self._services.visit.quantize(file.id)

    def open_tool(self, tool: str, file: LibraryFile) -> None:
        """The form of a single step, with this file filled in."""
        self._services.visit.tool(tool, {field_of(tool): str(file.path)})

    def fetch_again(self, file: LibraryFile) -> None:
        """Where it came from, to download it once more."""
        if repo := next((origin.repo for origin in file.origins if origin.repo), ""):
            self._services.visit.repository(repo)

    # In memory

    def load(self, file: LibraryFile) -> None:
        """Load a model now, so that its first answer comes at once."""
        self._services.run(self._load(file), "loading a model")

    async def _load(self, file: LibraryFile) -> None:
        self._view.show_loading(on=True)
        try:
            client = await self._app.connector.connect()
            async for _ in client.load(file.id):
                pass
        finally:
            self._view.show_loading(on=False)

    def eject(self, file: LibraryFile) -> None:
        """Have a model give its memory back."""
        self._services.run(self._eject(file), "ejecting a model")

    async def _eject(self, file: LibraryFile) -> None:
        self._view.show_loading(on=True)
        try:
            client = await self._app.connector.attached()
            if client is not None and await client.unload(file.id):
                self._services.toast(
                    f"{file.id} is no longer in memory.", lambda: self.load(file), "Load again"
                )
        finally:
            self._view.show_loading(on=False)

    # Removing

    def remove(self, files: list[LibraryFile], title: str) -> None:
        """Delete files; the toast brings them back."""
        self._services.run(self._remove(files, title), "deleting a model")

    async def _remove(self, files: list[LibraryFile], title: str) -> None:
        removed = await self._app.trash.remove(files, title)
        freed = f", {amounts.size(removed.size_bytes)}" if removed.size_bytes else ""
        words = f"{title} is off the list." if removed.forgotten and not freed else f"Deleted {title}{freed}."
        self._services.toast(words, lambda: self._services.run(self._undo(removed.key), "undoing a deletion"))
        await self._refresh()

    async def _undo(self, key: str) -> None:
        back = await self._app.trash.undo(key)
        if back.file_ids:
            self._view.show_imported(back.file_ids[0].partition(":")[0])
        await self._refresh()

    # Importing

    def other_programs(self) -> list[tuple[str, Callable[[], object]]]:
        """Where other programs keep models on this machine."""
        return [(source.title, self._looker(source)) for source in self._sources]

    def _looker(self, source: ImportSource) -> Callable[[], object]:
        return lambda: self._services.run(self._look([source]), "looking for models")

    def ask_file(self) -> None:
        self._services.run(self._ask_file(), "choosing a file")

    async def _ask_file(self) -> None:
        from slmdesk.gui.dialogs import open_file

        path = await open_file(
            self._services.window(), "Import a model", kinds="Models (*.gguf *.safetensors *.onnx)"
        )
        if path is not None:
            self.look_at([path])

    def ask_folder(self) -> None:
        self._services.run(self._ask_folder(), "choosing a folder")

    async def _ask_folder(self) -> None:
        from slmdesk.gui.dialogs import choose_folder

        path = await choose_folder(self._services.window(), "Import models from a folder")
        if path is not None:
            self.look_at([path])

    def look_at(self, paths: list[Path]) -> None:
        """Show what could be imported from these places."""
        self._services.run(self._look_at(paths), "looking for models")

    async def _look_at(self, paths: list[Path]) -> None:
        from slmdesk.library.sources import source_at

        await self._look([await in_thread(source_at, path) for path in paths])

    async def _look(self, sources: list[ImportSource]) -> None:
        self._view.wait_for_imports()
        try:
            found = [one for source in sources for one in await self._app.importer.find(source)]
        except SlmDeskError:
            self._view.close_imports()
            raise
        self._view.show_candidates(found)

    def take(self, chosen: list[Candidate], mode: Mode) -> None:
        """Import; what moves bytes is done by the process that does jobs."""
        self._services.run(self._take(chosen, mode), "importing")

    async def _take(self, chosen: list[Candidate], mode: Mode) -> None:
        from slmdesk.library.requests import ImportRequest

        request = ImportRequest(tuple(chosen), mode)
        if mode == "in-place":
            imported = await self._app.library_actions.import_now(request)
            problems = [one.problem for one in imported if one.problem is not None]
            self._app.library.forget_listing()
            self._view.close_imports()
            self._came({"imported": [one.to_json() for one in imported], "failed": len(problems)})
            await self._refresh()
            if problems:
                raise problems[0]
            return
        job = await self._app.library_actions.import_models(request)
        self._view.close_imports()
        self._say_queued(f"Importing {job.title.removeprefix('Import ')}.")

    def _came(self, result: dict[str, Any]) -> None:
        """Say what an import brought; a single model is shown, and offered for a chat."""
        came = sorted({str(one["id"]) for one in result.get("imported", []) if not one.get("problem")})
        words = imported_words(result)
        if len(came) != 1:
            if words:
                self._services.toast(words)
            return
        self._view.show_imported(came[0])
        self._services.toast(words, lambda: self._services.run(self._chat(came[0]), "opening a chat"), "Chat")

    async def _chat(self, model_id: str) -> None:
        file = await self._app.library.resolve(model_id)
        self._services.visit.chat_with(file.id)

    # Leftovers and equal files

    def find_orphans(self) -> None:
        self._services.run(self._orphans(quiet=False), "looking for unfinished files")

    async def _orphans(self, *, quiet: bool) -> None:
        found = await self._app.orphans.find(await self._app.jobs.list())
        total = amounts.size(sum(orphan.size_bytes for orphan in found))
        many = amounts.counted(len(found), "unfinished file")
        verb = "belongs" if len(found) == 1 else "belong"
        self._view.say(
            LibraryNotice(
                "orphans",
                f"{many}, {total}, {verb} to no download any more." if found else "",
                "Remove",
                lambda: self._services.run(self._remove_orphans(found), "removing unfinished files"),
                "partial",
            )
        )
        if not found and not quiet:
            self._services.toast("There are no unfinished files.")

    async def _remove_orphans(self, found: list[Orphan]) -> None:
        freed, problems = await self._app.orphans.remove(found)
        self._view.unsay("orphans")
        self._services.toast(f"{amounts.size(freed)} are free again.")
        await self._refresh()
        if problems:
            raise problems[0]

    def find_equal(self) -> None:
        """Look for files with the same content."""
        self._services.run(self._find_equal(), "looking for equal files")

    async def _find_equal(self) -> None:
        await self._app.library_actions.find_equal()
        self._say_queued("Looking for equal files.")

    def _equal_found(self, result: EqualResult) -> None:
        if result.merged is not None:
            self._view.unsay("equal")
            self._services.toast(f"Merged; {amounts.size(result.freed)} are free again.")
            return
        found = [one for one in result.duplicates if one.frees]
        if not found:
            self._services.toast("No file lies here twice.")
            return
        frees = amounts.size(sum(one.frees for one in found))
        many = "1 content lies" if len(found) == 1 else f"{len(found)} contents lie"
        self._view.say(
            LibraryNotice(
                "equal",
                f"{many} here more than once. Merging keeps every name and frees {frees}.",
                "Merge",
                lambda: self._services.run(self._merge(found), "merging equal files"),
                "merge",
            )
        )

    async def _merge(self, found: list[Equal]) -> None:
        await self._app.library_actions.merge_equal(found)
        self._say_queued("Merging equal files.")

    # Folders

    def show_folder(self, file: LibraryFile | None) -> None:
        """Open the folder of a file, or that of all models, in the system's file manager."""
        path = self._app.library.folders[0] if file is None else file.path
        open_path(path if file is None or not file.runs else path.parent)

    def move_folder(self) -> None:
        """Ask where the first models folder should go."""
        self._services.run(self._move_folder(), "moving the models folder")

    async def _move_folder(self) -> None:
        from slmdesk.gui.dialogs import choose_folder

        source = self._app.library.folders[0]
        target = await choose_folder(self._services.window(), "Move the models to this folder")
        if target is not None and target != source:
            await self._app.library_actions.move_folder(source, target)
            self._say_queued("Moving the models.")

    def _say_queued(self, told: str) -> None:
        """The process that does jobs does it."""
        self._services.toast(told, lambda: self._services.go_to("downloads"), "Show")


def verified_words(states: dict[str, int]) -> str:
    """What a check found, as a sentence."""
    damaged = states.get("damaged", 0)
    whole = states.get("verified", 0)
    other = sum(states.values()) - damaged - whole
    if damaged:
        return f"{amounts.counted(damaged, 'file')} {'is' if damaged == 1 else 'are'} damaged."
    parts = [f"{amounts.counted(whole, 'file')} verified"] if whole else []
    if other:
        parts.append(f"{other} without a published hash")
    return f"{', '.join(parts)}." if parts else "There was nothing to check."


def imported_words(result: dict[str, Any]) -> str:
    """What an import brought, as a sentence; "" where nothing came."""
    failed = int(result.get("failed", 0))
    imported = [one for one in result.get("imported", []) if not one.get("problem")]
    if not imported:
        return ""
    noted = any(one.get("notes") for one in imported)
    what = amounts.counted(len(imported), "model")
    if len(imported) == 1:
        what = str(imported[0].get("id", "")).rpartition("/")[2] or what
    words = f"{what} imported.{_NOTED * noted}"
    return f"{words} {failed} could not be." if failed else words
