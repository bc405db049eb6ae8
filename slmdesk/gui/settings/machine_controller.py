"""What the Settings page shows of this machine: its GPUs, the self-test, and what engines leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slmdesk.gui.tasks import in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.engines.device_report import DeviceLine
    from slmdesk.engines.safe_steps import Remembered, SafeSteps
    from slmdesk.engines.self_test_outcome import FamilyResult, Outcome
    from slmdesk.gui.page import WindowServices
    from slmdesk.inference.steps import Step


class MachineView(Protocol):
    """What the controller shows."""

    def show_safe_steps(self, remembered: Sequence[Remembered]) -> None: ...
    def show_self_test(self, outcome: Outcome | None) -> None: ...
    def show_testing(self, family: str, number: int) -> None:
        """The test goes on: which kind of weights was just tested ("" for none yet), and how many were."""
        ...

    def show_devices(self, lines: Sequence[DeviceLine]) -> None: ...
    def show_looking(self, *, on: bool) -> None:
        """Whether GPUs are being looked for."""
        ...


class MachineController:
    """Reads when the page is looked at, and nothing before."""

    def __init__(self, services: WindowServices, view: MachineView) -> None:
        self._services = services
        self._view = view
        self._testing = False

    def activated(self) -> None:
        """The page is looked at."""
        self._services.run(self._read_safe_steps(), "reading the safe steps")
        self._services.run(self._read_self_test(), "reading the last self-test")
        self.look_for_devices()

    # Safe steps

    async def _steps(self) -> SafeSteps:
        """The store, read in a thread."""

        def read() -> SafeSteps:
            steps = self._services.application.safe_steps
            steps.remembered()
            return steps

        return await in_thread(read)

    async def _read_safe_steps(self) -> None:
        self._view.show_safe_steps((await self._steps()).remembered())

    def forget_step(self, remembered: Remembered) -> None:
        """A way back: the engine tries everything again with the next question."""
        self._services.run(self._forget_step(remembered), "forgetting a safe step")

    async def _forget_step(self, remembered: Remembered) -> None:
        gone = await in_thread((await self._steps()).forget, remembered.key)
        await self._read_safe_steps()
        if gone:
            self._services.toast(
                "The next question tries it again.",
                lambda: self._services.run(self._put_back(gone), "undoing a forgotten safe step"),
            )

    async def _put_back(self, gone: list[Remembered]) -> None:
        await in_thread((await self._steps()).put_back, gone)
        await self._read_safe_steps()

    # The self-test

    async def _read_self_test(self) -> None:
        found = await self._services.application.self_test.latest()
        if not self._testing:
            self._view.show_self_test(found)

    def test(self) -> None:
        """Test the engine's arithmetic now and show what is found."""
        if not self._testing:
            self._services.run(self._test(), "testing the engine")

    async def _test(self) -> None:
        self._testing = True
        self._view.show_testing("", 0)
        heard: list[FamilyResult] = []

        def on_family(_step: Step, result: FamilyResult) -> None:
            heard.append(result)
            self._view.show_testing(result.family, len(heard))

        test = self._services.application.self_test
        found: Outcome | None = None
        try:
            found = await test.run(on_family=on_family)
        finally:
            self._testing = False
            self._view.show_self_test(await test.latest() if found is None else found)
        await self._read_safe_steps()  # one may be taken since

    # GPUs

    def look_for_devices(self, *, failed_too: bool = False) -> None:
        """Ask for the devices; the window goes on meanwhile. `failed_too`: also a driver that failed."""
        self._services.run(self._look_for_devices(failed_too=failed_too), "looking for GPUs")

    async def _look_for_devices(self, *, failed_too: bool) -> None:
        from slmdesk.core import gpus
        from slmdesk.engines.device_report import report

        application = self._services.application
        self._view.show_looking(on=True)
        try:
            present, _ = await in_thread(gpus.probe)
            listing = await application.devices.now(fresh=True, failed_too=failed_too)
            layers = int(application.settings.get("engine.gpu_layers"))
            self._view.show_devices(report(listing, present, gpu_layers=layers))
        finally:
            self._view.show_looking(on=False)
