"""One model of the service: its engine, who uses it, how its load goes, and how often it died."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

from slmdesk.core.held_memory import held_now
from slmdesk.serving import content
from slmdesk.serving.entries import LoadedModel
from slmdesk.serving.stepping import Stepping
from slmdesk.serving.try_later import TryLaterError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.engines.safe_steps import SafeSteps
    from slmdesk.inference.engines import Engine
    from slmdesk.inference.loading import Loading
    from slmdesk.inference.steps import Step
    from slmdesk.library.created import CreatedModel
    from slmdesk.library.library import LibraryFile
    from slmdesk.serving.entries import LoadState

DEATH_WINDOW_S = 60.0  # two deaths within it, and the engine is not started again before it is over
_PROGRESS_STEP = 0.01
_FOR_EVER_S = 1e10  # no calendar goes further


class ModelSlot:
    """A model the service was asked for. It stays when its engine died, so that the next start knows of it."""

    def __init__(
        self,
        file: LibraryFile,
        loading: Loading,
        steps: SafeSteps | None,
        created: CreatedModel | None = None,
    ) -> None:
        """`created`: the model it is loaded as, where that takes an engine of its own."""
        self.file = file
        self.created = created
        self.asked_loading = loading  # as the settings want it, without a token
        self.usual_loading = loading  # as they wanted it at the load where nobody asks for another context
        self.recommended: dict[str, float] = {}  # by a file beside the model's
        self.stepping = Stepping(file, steps)
        self.step: Step = "all"  # what the running engine leaves out of `loading`
        self.stepped_from: set[int] = set()  # process ids of engines that a safer one took over from
        self.names: set[str] = {self.id}
        self.shown = self.id  # the name it was last asked for by, a created model's or the file's
        self.pinned = False  # given on the command line, or pinned: it stays loaded
        self.makes_way = False  # for another model, once its answers are done
        self.keep_s: float | None = None  # seconds it stays without use, as a request said; None: nothing
        self.kept_pin = False  # as is kept for the model
        self.kept_s: float | None = None  # seconds, as is kept; None: as the setting says
        self.ready_at = 0.0  # by the monotonic clock
        self.state: LoadState = "loading"
        self.progress = 0.0
        self.loaded_at = 0.0
        self.engine: Engine | None = None
        self.loading: asyncio.Task[SlmDeskError | None] | None = None
        self.users = 0  # requests that hold it, waiting ones included
        self.last_used = time.monotonic()
        self.problem: SlmDeskError | None = None
        self.loaded_from: tuple[LibraryFile, content.Seen] | None = None  # the file as the engine found it
        self._deaths: deque[float] = deque(maxlen=2)
        self._listeners: set[Callable[[float], None]] = set()

    @property
    def id(self) -> str:
        return self.created.name if self.created is not None else self.file.id

    @property
    def key(self) -> tuple[Path, str]:
        """What it is known by among the slots."""
        return self.file.path, self.created.name if self.created is not None else ""

    def expires_at(self, usual_s: float) -> float:
        """When it goes if nobody asks any more, in seconds since 1970; 0: never. `usual_s` as in `rested_enough`."""
        stays = self._stay_s(usual_s)
        if self.stays or stays > _FOR_EVER_S:
            return 0.0
        rested = 0.0 if self.users or self.loading is not None else time.monotonic() - self.last_used
        return time.time() + max(0.0, stays - rested)

    @property
    def idle(self) -> bool:
        """Loaded, and nobody holds it."""
        return self.users == 0 and self.loading is None and self.engine is not None

    @property
    def parallel(self) -> int:
        """Answers that are written at once."""
        return self.engine.facts.parallel if self.engine is not None else self.asked_loading.parallel

    @property
    def waiting(self) -> int:
        """Requests that hold it and are not answered yet."""
        return self.users - (min(self.users, self.parallel) if self.state == "ready" else 0)

    @property
    def would_wait(self) -> bool:
        """Whether one more request has to wait for others, not only for the load."""
        return self.makes_way or (self.users > 0 and (self.state != "ready" or self.users >= self.parallel))

    def rested_enough(self, rested_s: float, usual_s: float) -> bool:
        """Whether it may go after so many seconds without use; `usual_s` of 0: never."""
        return not self.stays and rested_s > self._stay_s(usual_s)

    @property
    def stays(self) -> bool:
        """Whether it makes no room for others."""
        return self.pinned or self.kept_pin

    def _stay_s(self, usual_s: float) -> float:
        if self.keep_s is not None:
            return self.keep_s
        return (usual_s or math.inf) if self.kept_s is None else self.kept_s

    @property
    def changed(self) -> bool:
        """Whether the file is another one by now than the loaded engine has. Looks at the disk."""
        if self.engine is None or self.loading is not None or self.loaded_from is None:
            return False
        file, before = self.loaded_from
        return content.seen(file) != before

    def listen(self, listener: Callable[[float], None]) -> Callable[[], None]:
        """Tell `listener` how far the load is (0 to 1), until the function returned is called."""
        self._listeners.add(listener)
        listener(self.progress)
        return lambda: self._listeners.discard(listener)

    def report(self, fraction: float) -> None:
        """Progress of the load, told on in steps of a hundredth."""
        if fraction - self.progress < (_PROGRESS_STEP if fraction < 1.0 else 1e-9):
            return
        self.progress = fraction
        for listener in tuple(self._listeners):
            listener(fraction)

    def became_ready(self, engine: Engine) -> None:
        self.engine = engine
        self.state = "ready"
        self.loaded_at = time.time()
        self.ready_at = time.monotonic()
        self.problem = None
        self.report(1.0)

    def failed(self, error: SlmDeskError) -> None:
        self.engine = None
        self.state = "failed"
        self.problem = error
        self.last_used = time.monotonic()

    def died(self, error: SlmDeskError) -> None:
        """A loaded engine ended by itself."""
        self._deaths.append(time.monotonic())
        self.failed(error)

    def refuse_while_failing(self) -> None:
        """Raises `engine_keeps_failing` when it died twice within a minute, until a minute after that."""
        if len(self._deaths) < 2:
            return
        first, second = self._deaths
        waited = time.monotonic() - second
        if second - first > DEATH_WINDOW_S or waited > DEATH_WINDOW_S:
            return
        reason = self.problem.message if self.problem else "The reason is not known."
        again_s = int(DEATH_WINDOW_S - waited) + 1
        raise TryLaterError(
            "engine_keeps_failing",
            f"The engine of {self.id} ended twice within a minute, so it is not started again yet. {reason}",
            f"Choose another model or a shorter context, or try again in {again_s} s.",
            retry_after_s=again_s,
            details=self.problem.details if self.problem else "",
        )

    def describe(self, usual_s: float) -> LoadedModel:
        """What the status tells; `usual_s` as in `rested_enough`. Reads the engine's memory from the system."""
        engine = self.engine
        facts = engine.facts if engine is not None else None
        return LoadedModel(
            id=self.id,
            names=tuple(sorted(self.names)),
            state=self.state,
            progress=self.progress,
            memory_bytes=held_now(engine.pid) or engine.facts.memory_bytes if engine is not None else 0,
            prefix_bytes=engine.prefix_bytes if engine is not None else 0,
            most_prefix_bytes=facts.prefix_bytes if facts else 0,
            context_length=facts.context_length if facts else 0,
            parallel=self.parallel,
            active=self.users - self.waiting,
            queued=self.waiting,
            pid=engine.pid if engine is not None else 0,
            loaded_at=self.loaded_at if facts else 0.0,
            problem=self.problem.to_json() if self.problem else None,
            chat_form=facts.chat_form if facts else "",
            gpu_layers=facts.gpu_layers if facts else 0,
            device_bytes=facts.device_bytes if facts else 0,
            pinned=self.stays,
            expires_at=self.expires_at(usual_s),
            serves=self.file.serves or "chat",
        )
