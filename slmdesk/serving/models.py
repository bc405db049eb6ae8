"""The models of the service: loaded when first used, within a memory budget, ended when idle."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.devices import DeviceList
from slmdesk.engines.failures import NativeFaultError
from slmdesk.engines.registry import KINDS
from slmdesk.engines.safe_steps import at_step
from slmdesk.formats.recommended import recommended_beside
from slmdesk.inference.limits import FITS
from slmdesk.serving import content
from slmdesk.serving.forecasts import Forecasts
from slmdesk.serving.held import Held
from slmdesk.serving.names import ModelNames, is_path
from slmdesk.serving.purposes import refuse_other
from slmdesk.serving.slot import DEATH_WINDOW_S, ModelSlot
from slmdesk.serving.try_later import TryLaterError
from slmdesk.serving.turns import Turns
from slmdesk.serving.wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from slmdesk.core.settings import Settings
    from slmdesk.engines.safe_steps import SafeSteps
    from slmdesk.inference.engines import Engine, EngineKinds
    from slmdesk.inference.loading import Loading, Serves
    from slmdesk.library.created import CreatedModel, CreatedModels
    from slmdesk.library.kept import FileSettings
    from slmdesk.library.library import Library, LibraryFile, LibraryModel
    from slmdesk.memory.calibration import Calibration
    from slmdesk.serving.entries import LoadedModel
    from slmdesk.serving.forecasts import LoadForecast

log = logging.getLogger(__name__)

SlotKey = tuple[Path, str]
_MOST_NAMES = 64  # of one model that are remembered: other programs may send any
_AGAIN_S = 5


class Models:
    """All models of one service. Lives on its event loop.

    Attributes:
        names: which file a name means to whom.
    """

    def __init__(
        self,
        library: Library,
        settings: Settings,
        log_path: Path | None = None,
        calibration: Calibration | None = None,
        steps: SafeSteps | None = None,
        *,
        created: CreatedModels | None = None,
        devices: DeviceList | None = None,
        kinds: EngineKinds = KINDS,
        for_many: bool = False,
    ) -> None:
        """`for_many`: models are loaded with a context for each answer at once; else all share one context."""
        self._wishes = Wishes(library, settings, for_many=for_many)
        self._devices = devices or DeviceList()
        self._kinds = kinds
        self._library = library
        self._settings = settings
        self._log_path = log_path
        self._forecasts = Forecasts(calibration)
        self._steps = steps
        self._slots: dict[SlotKey, ModelSlot] = {}
        self._by_name: dict[
            tuple[str, str], ModelSlot
        ] = {}  # by a name, and the created model it is loaded as
        self.names = ModelNames(library, created)
        self._turns = Turns(
            lambda: self.slots, settings, self._forecasts, self._devices, retire=self._retire, end=self._end
        )
        self._outside = 0  # questions that wait for the turn of their model
        # One load at a time: what is free is only known when the one before has taken its share.
        self._one_load = asyncio.Lock()
        self._leaving: set[ModelSlot] = set()  # still answering from a file that is another one by now
        self._ending: set[asyncio.Task[None]] = set()  # of those, and of models that nobody wants to be kept
        self._replaced: set[Path] = set()  # files that were changed while loaded, which is not said yet
        self._stopping = False
        self._settings_stamp = -1

    @property
    def slots(self) -> list[ModelSlot]:
        return list(self._slots.values())

    @property
    def given(self) -> dict[str, LibraryFile]:
        """Models named on the command line, by the name that the API lists them by."""
        return self.names.given

    @property
    def waiting(self) -> int:
        """Questions that wait for a model, its turn or one of its slots."""
        return self._outside + sum(slot.waiting for slot in self.slots)

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def give(self, name: str) -> None:
        """Make a model (library id or path) reachable under `name`, by anybody, and keep it loaded.

        Raises what `Library.resolve` raises.
        """
        await self.names.give(name)

    async def library_models(self) -> list[LibraryModel]:
        """All models of the library."""
        return await self._library.models()

    @asynccontextmanager
    async def use(
        self,
        name: str,
        *,
        trusted: bool,
        on_progress: Callable[[float], None] | None = None,
        context_length: int = 0,
        serves: Serves | None = "chat",
        keep_s: float | None = None,
    ) -> AsyncIterator[Held]:
        """A ready engine for `name`, which stays loaded until the block ends.

        `serves`: what it will be asked for; None: whatever it can do. `keep_s`: as `Held.keep_for`, None: as before.

        With another `context_length` (0: what is kept for it, or the setting's) the model is loaded anew, unless it
        answers others now.
        Only who showed the token may ask for one: it decides how much memory is taken.
        Raises `model_not_found`, what the load failed with, `queue_full`, `memory_insufficient`,
        `engine_keeps_failing`, and `model_not_chat` or `unsupported` for a model that does something else.
        """
        slot, created = await self._in_turn(name, trusted=trusted, serves=serves)
        context = context_length if trusted else 0
        told = slot.stepping.told
        if slot.file.path in self._replaced:
            self._replaced.discard(slot.file.path)
            slot.stepping.tell(f"{slot.file.path.name} was changed on the disk, so it was loaded anew.")
        try:
            engine = await self._ready(slot, on_progress, context)
            slot.keep_s = slot.keep_s if keep_s is None else keep_s
            again = partial(self._after_fault, slot, context_length=context)
            yield Held(slot, engine, told, again, self._wishes.defaults(slot, created))
        finally:
            slot.users -= 1
            slot.last_used = time.monotonic()
            self._turns.changed()
            if slot in self._leaving and not slot.users:
                self._end_soon(self._left(slot))
            elif slot.keep_s == 0 and slot.idle and not slot.stays and not slot.makes_way:
                self._end_soon(self._retire(slot))

    async def unload(self, name: str, *, trusted: bool) -> bool:
        """End the model's engine, or its load; also forgets that it kept dying. Whether there was anything.

        Raises `model_busy` while it answers.
        """
        created = await self.names.created(name)
        slot = await self._known(created.base if created else name, created, trusted=trusted)
        if slot is None:
            return False
        if slot.users and slot.loading is None:
            raise SlmDeskError(
                "model_busy", f"{slot.id} is answering right now.", "Stop the answer, or wait for its end."
            )
        if slot.loading is not None:
            slot.loading.cancel()
            await asyncio.wait([slot.loading])
            slot.loading = None
        await self._retire(slot)
        return True

    async def sweep(self) -> None:
        """End models that were idle for longer than the setting allows; forget failures long past."""
        self._refresh_settings()
        limit = 60.0 * int(self._settings.get("service.model_idle_minutes"))
        now = time.monotonic()
        for slot in self.slots:
            slot.kept_pin, slot.kept_s = self._wishes.stay(slot, slot.created)
            rested = now - slot.last_used
            if slot.idle and slot.changed:
                await self._unless_changed(slot)  # a file that is gone takes its place until then
            elif slot.idle and slot.rested_enough(rested, limit):
                log.info("unloading %s, idle for %.0f s", slot.id, rested)
                await self._retire(slot)
            elif (
                slot.state == "failed" and not slot.users and slot.loading is None and rested > DEATH_WINDOW_S
            ):
                self._drop(slot)

    async def stop(self) -> None:
        """End every load and engine; running answers end with an error. Nothing can be loaded afterwards."""
        self._stopping = True
        loads = [slot.loading for slot in self.slots if slot.loading is not None]
        for load in loads:
            load.cancel()
        if loads:
            await asyncio.wait(loads)
        await asyncio.gather(*(self._end(slot) for slot in (*self.slots, *self._leaving)), *self._ending)

    async def _in_turn(
        self, name: str, *, trusted: bool, serves: Serves | None
    ) -> tuple[ModelSlot, CreatedModel | None]:
        """The slot, with one more user, once it does not make way for another model. Raises `queue_full`."""
        while True:
            slot, created = await self._slot(name, trusted=trusted, serves=serves)
            if slot.would_wait and self.waiting >= int(self._settings.get("service.max_waiting")):
                raise TryLaterError(
                    "queue_full",
                    f"{self.waiting} questions wait already, which is the limit.",
                    "Ask again later, or allow more with the setting service.max_waiting.",
                    retry_after_s=_AGAIN_S,
                )
            if not slot.makes_way:
                slot.users += 1
                return slot, created
            self._outside += 1
            try:
                await self._turns.wait(slot)
            finally:
                self._outside -= 1

    async def _slot(
        self, name: str, *, trusted: bool, serves: Serves | None
    ) -> tuple[ModelSlot, CreatedModel | None]:
        self._refuse_when_stopping()
        created = await self.names.created(name)
        if created is not None:  # its base is the library's, whoever asks
            name, trusted = created.base, True
        apart = created if created is not None and created.loaded_otherwise else None
        key = name, apart.name if apart is not None else ""
        slot = await self._unless_changed(self._by_name.get(key))
        usable = slot is not None and slot.state != "failed"
        if slot is None or not usable or not (trusted or not is_path(name)):
            file = await self.names.find(name, trusted=trusted)
            refuse_other(file, serves)
            slot = await self._unless_changed(self._slots.get((file.path, key[1])))
            if slot is None:
                slot = ModelSlot(file, self._wishes.loading(file, apart), self._steps, apart)
                self._slots[slot.key] = slot
            slot.file = file
            if len(slot.names) < _MOST_NAMES:
                slot.names.add(name if apart is None else apart.name)
                self._by_name[key] = slot
        refuse_other(slot.file, serves)
        slot.created = apart
        slot.kept_pin, slot.kept_s = self._wishes.stay(slot, created)
        slot.shown = created.name if created is not None else slot.file.id
        slot.pinned = slot.pinned or self.names.is_given(slot.file)
        return slot, created

    async def _unless_changed(self, slot: ModelSlot | None) -> ModelSlot | None:
        """The slot; None where its file was replaced or cut since it was loaded. Answers that run on it go on."""
        if slot is None or not slot.changed:
            return slot
        log.info("the file of %s was changed; it is loaded anew", slot.id)
        self._drop(slot)
        self._library.forget_listing()
        self._replaced.add(slot.file.path)
        self.names.changed(slot.file.path)
        if slot.users:
            self._leaving.add(slot)
        else:
            await self._end(slot)
        return None

    async def _left(self, slot: ModelSlot) -> None:
        """Nobody holds this slot any more, whose file is another one by now."""
        self._leaving.discard(slot)
        await self._end(slot)

    async def _known(self, name: str, created: CreatedModel | None, *, trusted: bool) -> ModelSlot | None:
        """The slot that a name means, where there is one."""
        apart = created.name if created is not None and created.loaded_otherwise else ""
        slot = self._by_name.get((name, apart))
        if slot is None and trusted:
            slot = self._slots.get((Path(name), apart))
        if slot is None:
            file = await self.names.find(name, trusted=trusted or created is not None)
            slot = self._slots.get((file.path, apart))
        return slot

    def kept(self, file: LibraryFile) -> FileSettings:
        """What a person wants of a file; blocking."""
        return self._library.kept.of(file)

    async def find(self, name: str, *, trusted: bool) -> LibraryFile:
        """`ModelNames.find`."""
        return await self.names.find(name, trusted=trusted)

    def _end_soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _ready(
        self, slot: ModelSlot, on_progress: Callable[[float], None] | None, context_length: int
    ) -> Engine:
        self._refresh_settings()
        engine = slot.engine
        if slot.loading is None:
            loading = self._wishes.loading(slot.file, slot.created, context_length)
            step = slot.stepping.wanted()
            same = loading == slot.asked_loading and step == slot.step
            changed = not same and slot.users == 1  # others are still answered by the old one
            if engine is not None and engine.alive and not changed:
                return engine
            slot.refuse_while_failing()
            slot.asked_loading, slot.step = loading, step
            slot.usual_loading = self._wishes.loading(slot.file, slot.created)
            slot.state, slot.progress = "loading", 0.0
            slot.loading = asyncio.create_task(self._load(slot), name=f"load {slot.id}")
        forget = slot.listen(on_progress) if on_progress is not None else None
        load = slot.loading
        try:
            # Not awaited itself: it goes on for others, and for the next try of a client that gave up.
            await asyncio.wait([load])
        finally:
            if forget is not None:
                forget()
        error = _stopped(slot) if load.cancelled() else load.result()
        if error is None and slot.engine is None:
            error = slot.problem or _stopped(slot)
        if error is not None:
            raise error
        assert slot.engine is not None
        return slot.engine

    async def _load(self, slot: ModelSlot) -> SlmDeskError | None:
        """Start the slot's engine. The error is returned, as nobody may be waiting for it any more."""
        try:
            async with self._one_load:
                await self._end(slot)  # one with other settings
                slot.loaded_from = slot.file, content.seen(slot.file)
                slot.recommended = await asyncio.to_thread(recommended_beside, slot.file.path.parent)
                begun = time.monotonic()
                engine, expected = await self._start(slot)
        except asyncio.CancelledError:
            error = _stopped(slot)
        except SlmDeskError as raised:
            error = raised
        except Exception:
            log.exception("loading %s failed", slot.id)
            error = SlmDeskError(
                "unexpected",
                f"{slot.id} could not be loaded because of a defect.",
                "The log of the service has it.",
            )
        else:
            slot.became_ready(engine)
            for note in engine.facts.notes:
                slot.stepping.tell(note)
            engine.died.add_done_callback(lambda died: self._engine_ended(slot, engine, died.result()))
            slot.loading = None
            slot.last_used = time.monotonic()
            log.info("loaded %s in %.2f s", slot.id, time.monotonic() - begun)
            self._forecasts.after(slot.file, expected, engine)
            await slot.stepping.loaded()
            return None
        log.warning("loading %s failed: %s", slot.id, error)
        slot.failed(error)
        slot.loading = None
        self._turns.changed()
        return error

    async def _start(self, slot: ModelSlot) -> tuple[Engine, LoadForecast | None]:
        """Start an engine at the slot's step; where native code fails in the load, at each safer one in turn."""
        while True:
            loading = await self._as_long_as_fits(slot, at_step(slot.asked_loading, slot.step))
            loading, expected = await self._turns.with_gpu(slot, loading)
            await self._turns.make_room(slot, self._forecasts.needed(slot.file, expected))
            kind = self._kinds.for_file(slot.file.path, slot.file.format)
            try:
                engine = await kind.start(
                    slot.file.path,
                    slot.file.id,
                    loading,
                    step=slot.step,
                    on_progress=slot.report,
                    log_path=self._log_path,
                )
                return engine, expected
            except NativeFaultError as fault:
                if not slot.stepping.failed(fault, slot.asked_loading, slot.step):
                    raise
                slot.step, slot.progress = slot.stepping.wanted(), 0.0

    def _engine_ended(self, slot: ModelSlot, engine: Engine, error: SlmDeskError | None) -> None:
        """Called once an engine's process ended, or twice; `error` is None where that was asked for."""
        if error is None or slot.engine is not engine:
            return
        log.error("the engine of %s died: %s", slot.id, error)
        self._turns.changed()
        if slot.changed:
            slot.failed(content.changed(slot.id))  # the fault is neither the model's nor the machine's
        elif isinstance(error, NativeFaultError) and slot.stepping.failed(
            error, slot.asked_loading, slot.step
        ):
            slot.stepped_from.add(engine.pid)
            slot.failed(error)
        else:
            slot.died(error)

    async def _after_fault(self, slot: ModelSlot, engine: Engine, *, context_length: int) -> Engine:
        """The engine that takes over from one that native code ended in mid-answer. Raises the fault without one."""
        fault = engine.died.result()
        self._engine_ended(slot, engine, fault)  # whoever comes first, all find the same
        if slot.problem is not None and slot.problem.code == "model_changed":
            raise slot.problem
        if engine.pid not in slot.stepped_from:
            raise fault or _stopped(slot)
        self._refuse_when_stopping()
        return await self._ready(slot, None, context_length)

    async def _as_long_as_fits(self, slot: ModelSlot, loading: Loading) -> Loading:
        """The loading with a number for its context, where that is to be as long as the memory allows."""
        if loading.context_length != FITS:
            return loading
        device = (await self._devices.now(fresh=True)).best if loading.gpu_layers else None
        context = await self._forecasts.longest(slot.file, loading, device)
        log.info("%s gets a context of %d tokens, as much as fits", slot.id, context)
        return replace(loading, context_length=context)

    async def _end(self, slot: ModelSlot) -> None:
        engine, slot.engine = slot.engine, None
        if engine is not None:
            await self._forecasts.ending(slot.file, engine)
            await engine.stop()

    async def _retire(self, slot: ModelSlot) -> None:
        """Forget the slot, then end its engine: who asks meanwhile gets a new slot, not the ending engine."""
        self._drop(slot)
        await self._end(slot)

    def _drop(self, slot: ModelSlot) -> None:
        self._slots.pop(slot.key, None)
        self._turns.changed()
        for name in [name for name, other in self._by_name.items() if other is slot]:
            del self._by_name[name]

    def describe(self) -> list[LoadedModel]:
        """What the status tells of each model, and whether it would be loaded otherwise by now."""
        usual = 60.0 * int(self._settings.get("service.model_idle_minutes"))
        return [replace(slot.describe(usual), outdated=self._outdated(slot)) for slot in self.slots]

    def _outdated(self, slot: ModelSlot) -> bool:
        return (
            slot.engine is not None
            and slot.loading is None
            and self._wishes.loading(slot.file, slot.created) != slot.usual_loading
        )

    def _refresh_settings(self) -> None:
        """Another process may have changed the file; one stat tells."""
        try:
            stamp = self._settings.path.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != self._settings_stamp:
            self._settings_stamp = stamp
            self._settings.load()

    def _refuse_when_stopping(self) -> None:
        if self._stopping:
            raise SlmDeskError("service_stopping", "The service is ending.", "Start it again.")


def _stopped(slot: ModelSlot) -> SlmDeskError:
    return SlmDeskError("model_unloaded", f"{slot.id} was unloaded meanwhile.", "Ask again to load it.")
