"""What one file of the library keeps for itself: read, changed with Undo, and forecast."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.tasks import in_thread
from slmdesk.inference.limits import find_model_setting
from slmdesk.library.in_force import InForce

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.gui.page import WindowServices
    from slmdesk.library.records import LibraryFile
    from slmdesk.memory.fit import Fit

_NAMED = 3  # so many changes are named in a message
DEBOUNCE_S = 0.15
"""A forecast is made when nothing changed for so long."""


class KeptView(Protocol):
    """What the controller shows."""

    def show_in_force(self, file: LibraryFile, in_force: InForce, *, gpu: bool) -> None: ...
    def show_fit(self, found: Fit | None, problem: str = "") -> None: ...


class KeptController:
    """One file at a time."""

    def __init__(self, services: WindowServices, view: KeptView) -> None:
        self._services = services
        self._view = view
        self._file: LibraryFile | None = None
        self._fitting: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def show(self, file: LibraryFile | None) -> None:
        """Read what counts for a file; None for none."""
        self._file = file
        if file is not None:
            self._services.run(self._look(file), "reading what is kept for a model")

    async def _look(self, file: LibraryFile) -> None:
        app = self._services.application
        in_force = await in_thread(InForce.of, file, app.library, app.settings)
        best = (await app.devices.now()).best
        if file is not self._file:
            return
        self._view.show_in_force(file, in_force, gpu=best is not None)
        if self._fitting is not None:
            self._fitting.cancel()
        self._fitting = self._services.run(self._fit(file, in_force), "forecasting a model's memory")

    async def _fit(self, file: LibraryFile, in_force: InForce) -> None:
        await asyncio.sleep(DEBOUNCE_S)
        loaded = self._services.loaded.get(file.id)
        freed = loaded.memory_bytes if loaded is not None else 0
        try:
            found = await self._services.application.fitting.of_file(
                file, in_force.kept.effective, freed=freed
            )
        except SlmDeskError as error:
            self._view.show_fit(None, error.message)
            return
        if file is self._file:
            self._view.show_fit(found)

    def keep(self, name: str, value: object) -> None:
        """Keep another value of the file that is shown."""
        if self._file is not None:
            self._services.run(self._keep(self._file, {name: value}), "keeping a model's settings")

    def keep_all(self, changes: Mapping[str, object]) -> None:
        """Keep several values of the file that is shown; None lets go of one."""
        if self._file is not None:
            self._services.run(self._keep(self._file, changes), "keeping a model's settings")

    def reset(self) -> None:
        """Let go of everything that is kept for the file that is shown."""
        if self._file is not None:
            self._services.run(self._keep(self._file, None), "resetting a model's settings")

    async def _keep(self, file: LibraryFile, changes: Mapping[str, object] | None) -> None:
        """Keep other values, or (None) none at all, and offer Undo. A value that is refused is said, and what counts
        is shown again."""
        store = self._services.application.library.kept
        everything = changes is None
        try:
            async with self._writing:
                before = (await in_thread(store.of, file)).own
                changes = dict.fromkeys(before.items()) if changes is None else changes
                await in_thread(store.change, file, changes)
                self._tell(file, {name: before.get(name) for name in changes}, changes, everything=everything)
        finally:
            await self._look_again()

    async def _look_again(self) -> None:
        if self._file is not None:
            await self._look(self._file)

    def _tell(
        self,
        file: LibraryFile,
        old: Mapping[str, object],
        new: Mapping[str, object],
        *,
        everything: bool,
    ) -> None:
        """Say what was changed, in the order of the changes, with a way back."""
        if old == dict(new):
            return
        name = file.id.partition("/")[2] or file.path.name
        changed = [key for key in new if old.get(key) != new[key]]
        titles = (
            ", ".join(find_model_setting(key).title for key in changed)
            if len(changed) <= _NAMED
            else f"{len(changed)} values"
        )
        self._services.toast(
            f"{name} keeps nothing of its own now." if everything else f"{titles} changed for {name}.",
            lambda: self._services.run(self._undo(file, old), "undoing a change"),
        )

    async def _undo(self, file: LibraryFile, old: Mapping[str, object]) -> None:
        async with self._writing:
            await in_thread(self._services.application.library.kept.change, file, old)
        await self._look_again()
