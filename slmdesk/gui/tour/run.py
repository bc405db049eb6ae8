"""Running the tour: a home of its own, a window, the steps, a report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk import __version__
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.app import Desk
    from slmdesk.gui.tour.driver import Driver, TourStep


def main(argv: Sequence[str]) -> int:
    """Drive the window through all steps; 0 when every one passed. Offscreen where there is no display."""
    parser = argparse.ArgumentParser(prog="slmdesk tour")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hub", default="", help="address of a hub that holds Desk Guide, to download from")
    options = parser.parse_args(argv)
    folder = options.out.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SlmDeskError(
            "folder_unwritable",
            f"{folder} cannot be made: {error.strerror}.",
            "Choose another folder with --out.",
        ) from error
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory(prefix="slmdesk-tour-", ignore_cleanup_errors=True) as home:
        os.environ["SLMDESK_HOME"] = home
        # Without a hub of its own the tour asks nobody.
        os.environ["HF_ENDPOINT"] = options.hub or "http://127.0.0.1:9"
        os.environ["SLMDESK_TOUR_HUB"] = options.hub
        return _TourRun(folder, as_json=options.json).run()


class _TourRun:
    def __init__(self, folder: Path, *, as_json: bool) -> None:
        self._folder = folder
        self._as_json = as_json
        self._failure: SlmDeskError | None = None
        self._driver: Driver | None = None

    def run(self) -> int:
        from slmdesk.core.paths import Paths
        from slmdesk.gui.app import Desk, qt_application
        from slmdesk.gui.single import SingleInstance
        from slmdesk.gui.tour.driver import WIDE, Driver

        began = time.perf_counter()
        app = qt_application(["slmdesk"])
        paths = Paths.resolve()
        paths.ensure()
        single = SingleInstance(paths.runtime, app)
        desk = Desk(app, paths, single)
        self._driver = Driver(desk, self._folder, self._tell)
        desk.window.resize(WIDE)
        try:
            desk.run(lambda: self._drive(desk))
        finally:
            single.release()
        return self._report(time.perf_counter() - began)

    async def _drive(self, desk: Desk) -> None:
        from slmdesk.gui.tour import (
            chat_steps,
            first_run_steps,
            frame_steps,
            model_steps,
            quantize_steps,
        )

        driver = self._driver
        assert driver is not None
        try:
            for step in (
                *first_run_steps.STEPS,
                *chat_steps.STEPS,
                *model_steps.STEPS,
                *quantize_steps.STEPS,
                *frame_steps.STEPS,
            ):
                await step(driver)
        except SlmDeskError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - a defect must end the tour, not hang it
            self._failure = SlmDeskError("tour_failed", f"The tour broke: {error!r}", "Please report this.")
        finally:
            if self._failure is not None:
                with suppress(SlmDeskError):
                    await driver.shoot("failed")
            await self._end_service(desk)
            with suppress(SlmDeskError):
                await desk.window.application.jobs.end_runner()
            desk.window.close()

    @staticmethod
    async def _end_service(desk: Desk) -> None:
        with suppress(SlmDeskError):
            client = await desk.window.application.connector.attached()
            if client is not None:
                await client.shutdown()

    def _tell(self, step: TourStep) -> None:
        if self._as_json:
            line = {"event": "step", "name": step.name, "seconds": step.seconds, "passed": step.passed}
            print(json.dumps(line, ensure_ascii=False), flush=True)
        else:
            mark = "ok  " if step.passed else "FAIL"
            print(f"{mark} {step.seconds:7.2f} s  {step.name}", flush=True)

    def _report(self, seconds: float) -> int:
        assert self._driver is not None
        result: dict[str, Any] = {
            "version": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "qt_platform": os.environ.get("QT_QPA_PLATFORM", ""),
            "passed": self._failure is None,
            "seconds": round(seconds, 2),
            "steps": self._driver.as_json(),
        }
        if self._failure is not None:
            result["error"] = self._failure.to_json()
        atomic_write(self._folder / "tour.json", json.dumps(result, ensure_ascii=False, indent=2) + "\n")
        if self._failure is not None:
            if self._as_json:
                print(json.dumps({"event": "error", "error": self._failure.to_json()}), flush=True)
            else:
                print(f"error: {self._failure}", file=sys.stderr)
            return 1
        if self._as_json:
            summary = {
                "folder": str(self._folder),
                "seconds": result["seconds"],
                "steps": len(result["steps"]),
            }
            print(json.dumps({"event": "done", "result": summary}), flush=True)
        else:
            print(
                f"{len(result['steps'])} steps in {seconds:.1f} s; pictures and tour.json are in {self._folder}"
            )
        return 0
