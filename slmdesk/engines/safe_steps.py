"""From fast to safe: how an engine is started after native code failed, and what of that is remembered.

Each step leaves out one more thing that runs on few machines only (a GPU's driver, tile registers, vector code), so
that a fault in it costs speed and not the answer. What worked is kept for this processor, these drivers and this build,
and counts no more when one of them changes: everything is tried anew then.

A fault that a step mended counts for the model it was met with. When two different models needed a step, or a self-test
failed without it, it counts for the machine. A model that no step helps is kept nowhere: its own file is the cause.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.engines.fingerprint import fingerprint, installed
from slmdesk.inference.steps import STEPS, Step, holds, safer
from slmdesk.inference.wire import converted, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.engines.fingerprint import Build, Fingerprint
    from slmdesk.inference.loading import Loading

log = logging.getLogger(__name__)

Scope = Literal["model", "machine"]

_WORDS: dict[Step, str] = {
    "all": "with everything this machine offers",
    "no_gpu": "without the GPU",
    "no_extra_buffers": "without the processor's extra buffers (AMX, repacked weights)",
    "no_flash_attention": "without flash attention",
    "plain_cpu": "with the plainest processor code",
}
_FILE = "safe-steps.json"
_MOST = 200  # entries kept
_MOST_MACHINES = 8  # fingerprints kept


def words(step: Step) -> str:
    """What the step does, to stand behind "runs" or "was started": "without the GPU"."""
    return _WORDS[step]


def at_step(loading: Loading, step: Step) -> Loading:
    """The loading with what the step leaves out. A quantized cache needs flash attention, so it goes with it."""
    if holds(step, "no_gpu"):
        loading = replace(loading, gpu_layers=0)
    if holds(step, "no_extra_buffers"):
        loading = replace(loading, extra_buffers=False)
    if holds(step, "no_flash_attention"):
        loading = replace(loading, flash_attention=False, cache_type="f16")
    return loading


def change(loading: Loading, step: Step) -> str:
    """What the step changes for a loading, to stand behind "went on": "without the GPU"."""
    more = " and with a plain f16 cache" if at_step(loading, step).cache_type != loading.cache_type else ""
    return f"{words(step)}{more}"


def ladder(made: Build, *, gpu_layers: int, flash_attention: bool) -> tuple[Step, ...]:
    """The steps that would change something, from "all" on, for this build and these settings."""
    steps: list[Step] = ["all"]
    if made.gpu_part and gpu_layers != 0:
        steps.append("no_gpu")
    steps.append("no_extra_buffers")
    if flash_attention:
        steps.append("no_flash_attention")
    if made.variants:
        steps.append("plain_cpu")
    return tuple(steps)


def next_step(step: Step, steps: Sequence[Step]) -> Step | None:
    """The first of `steps` that is safer than `step`; None when they are used up."""
    return next((other for other in steps if STEPS.index(other) > STEPS.index(step)), None)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's file, as it was when something was learned about it: a new download may be a sound one."""

    path: str
    size: int  # bytes
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> ModelFile:
        """The file as it is now; sizes of 0 where it cannot be looked at."""
        try:
            state = path.stat()
        except OSError:
            return cls(str(path), 0, 0)
        return cls(str(path), state.st_size, state.st_mtime_ns)

    def differs_from(self, other: ModelFile) -> bool:
        """Whether it is another model: a copy in another folder is the same one."""
        return (Path(self.path).name, self.size) != (Path(other.path).name, other.size)


@dataclass(frozen=True, slots=True)
class Remembered:
    """One step that is taken from the start. `file` is None where it counts for the whole machine."""

    step: Step
    when: float  # seconds since the epoch
    why: str  # the decoded fault, one sentence
    details: str = ""  # exit status and the last lines of stderr
    model: str = ""  # its library id, to be shown
    file: ModelFile | None = None

    @property
    def scope(self) -> Scope:
        return "machine" if self.file is None else "model"

    @property
    def key(self) -> str:
        """What `SafeSteps.forget` takes: the file's path, or "machine"."""
        return self.file.path if self.file is not None else "machine"


class SafeSteps:
    """What was learned on this machine, in one file. May be used from several threads and processes.

    Losing the file costs a fault or two again, so damage and a full disk are only logged.
    """

    def __init__(self, path: Path, mark: Fingerprint) -> None:
        self._path = path
        self._mark = mark
        self._lock = threading.RLock()
        self._stamp = (0, 0)
        self._entries: list[Remembered] = []
        self._others: list[Any] = []  # of other machines with the same home, and of other builds

    def step_for(self, file: ModelFile) -> Step:
        """The step to begin with for a model. Blocks for a small file's reading."""
        with self._lock:
            self._read()
            step = self._machine_step()
            for entry in self._entries:
                if entry.file == file:
                    step = safer(step, entry.step)
            return step

    def machine_step(self) -> Step:
        """The step to begin with for any model."""
        with self._lock:
            self._read()
            return self._machine_step()

    def remembered(self) -> list[Remembered]:
        """All that counts now: for the machine first, then by model."""
        with self._lock:
            self._read()
            step, needing = self._common()
            found = sorted(self._entries, key=lambda entry: (entry.scope != "machine", entry.model))
            if needing and step != "all" and not any(e.file is None and holds(e.step, step) for e in found):
                names = " and ".join(sorted({entry.model or Path(entry.key).name for entry in needing})[:2])
                found = [entry for entry in found if entry.file is not None]
                latest = max(entry.when for entry in needing)
                found.insert(0, Remembered(step, latest, f"Two models needed it: {names}."))
            return found

    def remember_model(self, model: str, file: ModelFile, step: Step, why: SlmDeskError) -> None:
        """`step` mended a fault of this model: the engine worked with it."""
        self._put(Remembered(step, time.time(), why.message, why.details, model, file))

    def remember_machine(self, step: Step, why: SlmDeskError) -> None:
        """A self-test failed without `step` and passed with it: it counts for every model."""
        self._put(Remembered(step, time.time(), why.message, why.details))

    def forget(self, key: str) -> list[Remembered]:
        """A way back for one entry (`Remembered.key`): it is tried anew. What was forgotten, for `put_back`.

        Where two models made a step count for the machine, forgetting that forgets both of them.
        """
        with self._lock:
            self._read(fresh=True)
            _, needing = self._common()
            gone = {key} | ({entry.key for entry in needing} if key == "machine" else set())
            return self._drop([entry for entry in self._entries if entry.key in gone])

    def forget_all(self) -> list[Remembered]:
        """Try everything anew, for every model; what was forgotten."""
        with self._lock:
            self._read(fresh=True)
            return self._drop(list(self._entries))

    def put_back(self, entries: Iterable[Remembered]) -> None:
        """Undo `forget`."""
        for entry in entries:
            self._put(entry)

    def _machine_step(self) -> Step:
        step, _ = self._common()
        for entry in self._entries:
            if entry.file is None:
                step = safer(step, entry.step)
        return step

    def _common(self) -> tuple[Step, list[Remembered]]:
        """The safest step that two different models needed, and the models that needed it or a safer one."""
        models = [entry for entry in self._entries if entry.file is not None]
        for step in reversed(STEPS[1:]):
            needing = [entry for entry in models if holds(entry.step, step)]
            if any(one.file.differs_from(other.file) for one in needing for other in needing):  # type: ignore[union-attr,arg-type]
                return step, needing
        return "all", []

    def _put(self, new: Remembered) -> None:
        with self._lock:
            self._read(fresh=True)
            self._entries = [entry for entry in self._entries if entry.key != new.key][-_MOST + 1 :]
            self._entries.append(new)
            self._write()

    def _drop(self, gone: list[Remembered]) -> list[Remembered]:
        if gone:
            self._entries = [entry for entry in self._entries if entry not in gone]
            self._write()
        return gone

    def _read(self, *, fresh: bool = False) -> None:
        """Take what another process may have written. Entries of another fingerprint are passed over."""
        try:
            state = self._path.stat()
            stamp = (state.st_mtime_ns, state.st_size)
            if stamp == self._stamp and not fresh:
                return
            self._stamp = stamp
            machines = json.loads(self._path.read_text("utf-8"))["machines"]
            self._others = [m for m in machines if m["fingerprint"] != self._mark.to_json()]
            ours = [m["remembered"] for m in machines if m["fingerprint"] == self._mark.to_json()]
            read = [_entry(item) for items in ours for item in items]
        except FileNotFoundError:
            self._stamp, self._entries, self._others = (0, 0), [], []
            return
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("the remembered safe steps cannot be read and are ignored: %s", error)
            self._entries, self._others = [], []
            return
        self._entries = [entry for entry in read if entry is not None]

    def _write(self) -> None:
        ours = {"fingerprint": self._mark.to_json(), "remembered": [plain(entry) for entry in self._entries]}
        data = {"machines": [*self._others[-_MOST_MACHINES + 1 :], ours]}
        try:
            atomic_write(self._path, json.dumps(data, indent=1) + "\n")
            state = self._path.stat()
            self._stamp = (state.st_mtime_ns, state.st_size)
        except (SlmDeskError, OSError) as error:
            log.warning("the safe steps were not kept: %s", error)


def safe_steps_in(data: Path) -> SafeSteps:
    """What is remembered in the program's data folder, for this machine as it is now. Not for an event loop."""
    return SafeSteps(data / _FILE, fingerprint())


def installed_ladder(*, gpu_layers: int, flash_attention: bool) -> tuple[Step, ...]:
    """`ladder` for the build that is installed."""
    return ladder(installed(), gpu_layers=gpu_layers, flash_attention=flash_attention)


def _entry(item: object) -> Remembered | None:
    """A stored entry; None when it is not one."""
    try:
        entry = converted(item, Remembered)
    except SlmDeskError:
        return None
    return entry if entry.step != "all" else None
