"""What a model can be computed on, as ggml sees it: asked of a child process, for a driver may crash or hang."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slmdesk.core import llama_library
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import self_command, start_child
from slmdesk.inference.devices import Device, best
from slmdesk.memory.offload import DeviceRoom

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.processes import ChildProcess

LIMIT_S = 20.0  # a driver's first start compiles and may take seconds; one that takes longer hangs
_FRESH_S = 60.0  # free memory older than this is asked anew


@dataclass(frozen=True, slots=True)
class Devices:
    """One listing. `problem`: why the GPUs could not be asked; `notes`: what was left out, a line each."""

    found: tuple[Device, ...] = ()
    notes: tuple[str, ...] = ()
    problem: SlmDeskError | None = None
    parts: tuple[str, ...] = ()  # backends whose part is installed

    @property
    def best(self) -> Device | None:
        """The device that takes a model's layers."""
        return best(self.found)

    @property
    def room(self) -> DeviceRoom | None:
        """Its room, for forecasts."""
        device = self.best
        return DeviceRoom.of(device) if device is not None else None


async def list_devices(
    added: Path | None = None, *, limit_s: float = LIMIT_S, command: list[str] | None = None
) -> Devices:
    """Ask a child process for every device. Never raises for a driver's sake: what failed is in `problem`.

    `added`: the folder of added parts. Where no part for a GPU is installed no process is started.
    """
    found = await asyncio.to_thread(llama_library.find, added)
    parts = tuple(llama_library.backend_of(part) for part in found.parts)
    if not found.parts and command is None:
        return Devices(notes=found.problems)
    child = await start_child(command or self_command("engine", "--devices"))
    try:
        line = await asyncio.wait_for(child.stdout.readline(), limit_s)
        listing = _read(line) if line else _died(await child.wait(), child)
    except TimeoutError:
        listing = Devices(problem=_hangs(limit_s))
    finally:
        await asyncio.shield(child.terminate_tree(grace_s=0.2))
    return replace(listing, parts=parts, notes=(*found.problems, *listing.notes))


class DeviceList:
    """The latest listing of one process: asked when it is first needed, and again when memory may have moved."""

    def __init__(self, added: Path | None = None) -> None:
        self._added = added
        self._latest = Devices()
        self._asked = -_FRESH_S
        self._asking = asyncio.Lock()

    @property
    def latest(self) -> Devices:
        """What was last heard; empty before the first answer."""
        return self._latest

    async def now(self, *, fresh: bool = False, failed_too: bool = False) -> Devices:
        """The devices. `fresh`: their free memory must not be older than this call.

        A driver that failed is not asked again, unless a person wants that: `failed_too`.
        """
        async with self._asking:
            old = fresh or time.monotonic() - self._asked > _FRESH_S
            if (old and self._latest.problem is None) or failed_too:
                self._latest = await list_devices(self._added)
                self._asked = time.monotonic()
        return self._latest


def _read(line: bytes) -> Devices:
    try:
        data = json.loads(line)
        found = tuple(Device.from_json(item) for item in data["devices"])
        return Devices(found=found, notes=tuple(str(note) for note in data["notes"]))
    except (ValueError, KeyError, TypeError):
        return Devices(problem=SlmDeskError("driver_failed", "The list of GPUs cannot be read.", ""))


def _died(status: int, child: ChildProcess) -> Devices:
    from slmdesk.engines.failures import driver_failed

    return Devices(problem=driver_failed(status, child.stderr_tail))


def _hangs(seconds: float) -> SlmDeskError:
    from slmdesk.engines.failures import driver_hangs

    return driver_hangs(seconds, [])
