"""One model's way down the safe steps: at which one its engine starts, and what a native fault changes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from slmdesk.engines.safe_steps import ModelFile, change, installed_ladder, next_step, words

if TYPE_CHECKING:
    from slmdesk.engines.failures import NativeFaultError
    from slmdesk.engines.safe_steps import SafeSteps
    from slmdesk.inference.loading import Loading
    from slmdesk.inference.steps import Step
    from slmdesk.library.library import LibraryFile

log = logging.getLogger(__name__)


class Stepping:
    """From the first fault on each start is one step safer, at most once a step.

    The step at which an answer is completed is remembered. When there is none, the fault is the file's: nothing is
    remembered, and further faults are no reason for steps.
    """

    def __init__(self, file: LibraryFile, steps: SafeSteps | None) -> None:
        self._file = file
        self._steps = steps
        self._trial: Step | None = None  # taken, and not known yet to help
        self._fault: NativeFaultError | None = None  # the first one, which the trial is to mend
        self._given_up = False
        self._learned = False
        self._told: list[str] = []

    @property
    def told(self) -> int:
        """How many changes there were so far: `news` gives those behind it."""
        return len(self._told)

    def news(self, since: int) -> str:
        """The latest change made since then, in a sentence for a person; empty where there was none."""
        return self._told[-1] if len(self._told) > since else ""

    def tell(self, sentence: str) -> None:
        """One more change, for whoever asks next."""
        self._told.append(sentence)

    def wanted(self) -> Step:
        """The step to start the engine at. Looks at a small file."""
        if self._trial is not None:
            return self._trial
        return "all" if self._steps is None else self._steps.step_for(ModelFile.of(self._file.path))

    def failed(self, fault: NativeFaultError, loading: Loading, step: Step) -> bool:
        """Native code failed in an engine started at `step`. Whether there is a safer one; `wanted` tells it then."""
        if self._given_up:
            return False
        steps = installed_ladder(gpu_layers=loading.gpu_layers, flash_attention=loading.flash_attention)
        trial = next_step(step, steps)
        if trial is None:
            log.error("no safe step helps %s: %s", self._file.id, fault)
            self._give_up()
            return False
        log.warning("%s failed (%s); next it runs %s", self._file.id, fault.ending, words(trial))
        self._fault = self._fault or fault
        self._trial = trial
        self._told.append(
            f"The engine failed on this machine and went on {change(loading, trial)}."
            " Settings shows this, with a way back."
        )
        return True

    async def loaded(self) -> None:
        """The engine got ready, which mends a fault of loading."""
        if self._fault is not None and self._fault.loading:
            await self.worked()

    async def worked(self) -> None:
        """An answer was completed: what is on trial helps, and is remembered."""
        trial, fault = self._trial, self._fault
        if trial is None or fault is None:
            return
        self._fault, self._learned = None, True
        if self._steps is None:
            return
        model = ModelFile.of(self._file.path)
        await asyncio.to_thread(self._steps.remember_model, self._file.id, model, trial, fault)
        if self._fault is None:  # else it failed again meanwhile
            self._trial = None  # from here on the file tells, which another process may change

    def _give_up(self) -> None:
        self._given_up, self._trial, self._fault = True, None, None
        if self._learned and self._steps is not None:
            # Answers that were completed on the way proved nothing.
            self._steps.forget(str(self._file.path))
