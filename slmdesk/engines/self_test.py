"""The self-test: does native code give the right numbers here, and at which safe step?

Each family of weights is evaluated by llama.cpp in a child (`slmdesk self-test`), on the way that real models take, and
compared with plain numpy arithmetic. A process that dies, does not answer or gives wrong numbers fails the step; the
steps are tried from fast to safe until one holds, and that one is remembered for the machine (`safe_steps`) before a
person meets the fault. What was found is kept with the fingerprint of processor, drivers and build.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import time
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from slmdesk.core.child import SpokenChild
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.core.processes import self_command
from slmdesk.engines import failures
from slmdesk.engines.fingerprint import fingerprint, installed
from slmdesk.engines.safe_steps import ladder, safe_steps_in
from slmdesk.engines.self_test_outcome import (
    BOUNDS,
    FAILED,
    Device,
    FamilyResult,
    Outcome,
    StepResult,
    Verdict,
    names,
)
from slmdesk.inference.steps import holds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.core.paths import Paths
    from slmdesk.core.settings import Settings
    from slmdesk.inference.steps import Step

log = logging.getLogger(__name__)

_SILENCE_S = 120.0  # without a word from the child; a GPU's driver compiles its programs at the first use
_LOOK_S = 0.1  # between two looks whether something else began
_FILE = "self-test.json"
_START = "its start"
_MOST_MACHINES = 8
# What a driver says no with: the model is so small, and was just written.
_REFUSED: frozenset[ErrorCode] = frozenset({"model_damaged", "driver_failed", "driver_hangs"})


class SelfTest:
    """Runs the self-test and keeps what it found. One at a time on this machine, whoever wants it."""

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        *,
        families: Sequence[str] = tuple(BOUNDS),
        command: Sequence[str] | None = None,
    ) -> None:
        self._paths = paths
        self._settings = settings
        self._families = families
        self._command = list(command or self_command("self-test"))

    async def latest(self) -> Outcome | None:
        """What was found last for this machine as it is now; None where it was never tested."""
        return await asyncio.to_thread(self._latest)

    async def run(
        self, *, gentle: bool = False, on_family: Callable[[Step, FamilyResult], None] | None = None
    ) -> Outcome:
        """Test from fast to safe until a step holds, remember that step, keep the outcome.

        `gentle`: everything else on the machine goes first. `on_family` hears each result on the event loop. Waits
        while another process tests. Cancelling ends the child. Raises `SlmDeskError` (engine_missing,
        child_start_failed, …) where the test itself cannot be made.
        """
        async with self._alone(wait=True):
            return await self._run(gentle=gentle, on_family=on_family)

    async def run_if_due(self) -> Outcome | None:
        """The test in the background, after an installation or an update. None where it was made, or is being made."""
        if await self.latest() is not None:
            return None
        async with self._alone(wait=False) as alone:
            if not alone or await self.latest() is not None:
                return None
            return await self._run(gentle=True, on_family=None)

    async def run_when_idle(self, idle_s: Callable[[], float], *, after_s: float) -> Outcome | None:
        """`run_if_due` once `idle_s()` (seconds in which nothing else was done) reaches `after_s`.

        Gives way as soon as something else begins, and begins again later. Nothing raises: what went wrong is logged.
        """
        while True:
            while (rest := after_s - idle_s()) > 0:  # noqa: ASYNC110 - a clock tells nobody
                await asyncio.sleep(max(rest, _LOOK_S))
            if await self.latest() is not None:
                return None
            test = asyncio.create_task(self.run_if_due(), name="self-test")
            try:
                while not test.done() and idle_s() >= after_s:
                    await asyncio.wait({test}, timeout=_LOOK_S)
            finally:
                test.cancel()
                await asyncio.wait({test})
            if test.cancelled():
                log.info("the self-test gave way to other work and begins again later")
            elif isinstance(error := test.exception(), SlmDeskError | OSError):
                log.warning("the self-test could not be made: %s", error)
                return None
            else:
                return test.result()

    @asynccontextmanager
    async def _alone(self, *, wait: bool) -> AsyncIterator[bool]:
        """Whether no other process tests, nor begins to while the block runs."""
        import filelock

        lock = filelock.FileLock(
            str(self._paths.runtime / "self-test.lock"), mode=0o600, thread_local=False, blocking=False
        )
        try:
            while True:
                with suppress(filelock.Timeout):
                    lock.acquire()
                    break
                if not wait:
                    break
                await asyncio.sleep(0.2)
            yield lock.is_locked
        finally:
            lock.release(force=True)

    async def _run(self, *, gentle: bool, on_family: Callable[[Step, FamilyResult], None] | None) -> Outcome:
        started = time.monotonic()
        gpu_layers = int(self._settings.get("engine.gpu_layers"))
        flash_attention = bool(self._settings.get("engine.flash_attention"))
        made = await asyncio.to_thread(installed)
        steps = ladder(made, gpu_layers=gpu_layers, flash_attention=flash_attention)
        tried: list[StepResult] = []
        for step in steps:
            # Layers that a GPU has no room for run on the processor, so a step with a GPU has to hold on both.
            with_gpu = made.gpu_part and gpu_layers != 0 and not holds(step, "no_gpu")
            devices: tuple[Device, ...] = ("GPU", "processor") if with_gpu else ("processor",)
            found: list[FamilyResult] = []
            for device in devices:
                spec = {
                    "step": step,
                    "gpu_layers": gpu_layers if device == "GPU" else 0,
                    "flash_attention": flash_attention,
                    "threads": int(self._settings.get("engine.threads")),
                    "gentle": gentle,
                }
                found += await _Round(self._command, spec, device, on_family).run(self._families)
            tried.append(StepResult(step, tuple(found)))
            if not tried[-1].failed:
                break
        outcome = Outcome(time.time(), round(time.monotonic() - started, 3), tuple(tried))
        await asyncio.to_thread(self._keep, outcome)
        return outcome

    def _keep(self, outcome: Outcome) -> None:
        best = outcome.best
        log.log(logging.INFO if outcome.holds else logging.ERROR, "self-test: %s", outcome.words)
        if best.step != "all":
            first = outcome.steps[0]
            details = "\n".join(
                f"{result.family}: {result.words}\n{result.details}".strip() for result in first.failed
            )
            why = SlmDeskError(FAILED, f"In the self-test {names(first)} failed.", details=details)
            safe_steps_in(self._paths.data).remember_machine(best.step, why)
        mark = fingerprint().to_json()
        kept = [item for item in self._stored() if item["fingerprint"] != mark][-_MOST_MACHINES + 1 :]
        data = {"machines": [*kept, {"fingerprint": mark, "outcome": outcome.to_json()}]}
        try:
            atomic_write(self._paths.data / _FILE, json.dumps(data, indent=1) + "\n")
        except (SlmDeskError, OSError) as error:
            log.warning("the self-test's outcome was not kept: %s", error)

    def _latest(self) -> Outcome | None:
        mark = fingerprint().to_json()
        for item in self._stored():
            if item["fingerprint"] == mark:
                with suppress(SlmDeskError):
                    return Outcome.from_json(item["outcome"])
        return None

    def _stored(self) -> list[dict[str, Any]]:
        try:
            machines = json.loads((self._paths.data / _FILE).read_text("utf-8"))["machines"]
            return [item for item in machines if "fingerprint" in item and "outcome" in item]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("the self-test's outcome cannot be read: %s", error)
            return []


class _Round:
    """All families on one device at one step, in as few children as live through it."""

    def __init__(
        self,
        command: list[str],
        spec: dict[str, Any],
        device: Device,
        on_family: Callable[[Step, FamilyResult], None] | None,
    ) -> None:
        self._command = command
        self._spec = spec
        self._device = device
        self._on_family = on_family
        self._families: Sequence[str] = ()
        self._found: list[FamilyResult] = []
        self._work = ""
        self._since = 0.0
        self._silences = 0
        self._began = False  # a family's work, in this child

    async def run(self, families: Sequence[str]) -> tuple[FamilyResult, ...]:
        """One result for each family. Raises what the test cannot be made for."""
        self._families = families
        with tempfile.TemporaryDirectory(prefix="slmdesk-self-test-", ignore_cleanup_errors=True) as folder:
            while self._rest():
                await self._child(folder)
        return tuple(self._found)

    def _rest(self) -> list[str]:
        return list(self._families)[len(self._found) :]

    async def _child(self, folder: str) -> None:
        """Goes through the families that are left until one ends the process, which is its result then."""
        spec = {**self._spec, "folder": folder, "families": self._rest()}
        child = await SpokenChild.start(self._command, json.dumps(spec).encode())
        self._work, self._since, self._began = _START, time.monotonic(), False
        try:
            async with aclosing(child.events(lambda: _SILENCE_S)) as said:
                async for event in said:
                    if not self._hear(event):
                        return
            self._died(failures.decode(await child.wait(), child.tail, "", loading=False))
        except SlmDeskError as error:
            if error.code != FAILED and not (self._device == "GPU" and error.code in _REFUSED):
                raise
            self._lost("failed", error.message, error.details)
        except TimeoutError:
            self._silences += 1
            if self._silences > 1:  # once may be a machine that slept
                why = f"nothing was heard for {_SILENCE_S:.0f} seconds"
                self._lost("silent", why, "\n".join(child.tail))
        finally:
            await child.end()

    def _hear(self, event: dict[str, Any]) -> bool:
        """Take one event of the child's; False where it was the last one."""
        kind = event.get("event")
        if kind == "no_device":
            self._families = self._families[: len(self._found)]  # nothing computes there
        elif kind == "at":
            self._work, self._began = str(event["work"]), bool(event["family"])
        elif kind == "family":
            self._add(FamilyResult.of(event, self._device))
            self._work, self._since = _START, time.monotonic()
        return kind not in {"done", "no_device"}

    def _died(self, error: SlmDeskError) -> None:
        """What ends a process from outside, or for want of memory, says nothing about the processor: raises it."""
        if error.code == "engine_killed":
            raise SlmDeskError(
                "self_test_ended",
                "The self-test was ended from outside.",
                "Test again.",
                details=error.details,
            )
        if error.code in {"out_of_memory", "engine_missing"}:
            raise error
        self._lost("crashed", f"llama.cpp stopped with {error.details.splitlines()[-1]}", error.details)

    def _lost(self, verdict: Verdict, why: str, details: str) -> None:
        """The child is of no more use. What ends it before any family, or keeps it waiting, ends it for all of them."""
        seconds = round(time.monotonic() - self._since, 3)
        hopeless = verdict == "silent" or not self._began
        for family in self._rest()[: None if hopeless else 1]:
            bound = BOUNDS[family]
            self._add(
                FamilyResult(family, self._device, verdict, -1.0, bound, self._work, seconds, why, details)
            )

    def _add(self, result: FamilyResult) -> None:
        self._found.append(result)
        if self._on_family is not None:
            self._on_family(self._spec["step"], result)
