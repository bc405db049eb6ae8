"""The status strip at the foot: loaded models, running jobs, and whether the program may use the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QSize, Signal

from slmdesk.core import amounts
from slmdesk.gui.chat.names import short_name
from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import ElidedLabel, Icon, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.job_watch import Summary


class Loaded(Protocol):
    """What the strip reads of a model that the service has loaded or is loading."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def progress(self) -> float: ...
    @property
    def memory_bytes(self) -> int: ...


def loaded_words(models: Sequence[Loaded]) -> tuple[str, str]:
    """What the strip says of `models`, and the colour of its dot."""
    if not models:
        return "No model loaded", "disabled"
    loading = next((model for model in models if model.state == "loading"), None)
    if loading is not None:
        return f"Loading {short_name(loading.id)}, {loading.progress:.0%}", "caution"
    ready = [model for model in models if model.state == "ready"]
    if not ready:
        return f"{short_name(models[0].id)} could not be loaded", "bad"
    memory = amounts.size(sum(model.memory_bytes for model in ready))
    name = short_name(ready[0].id) if len(ready) == 1 else f"{len(ready)} models"
    return f"{name} loaded, {memory}", "good"


class StatusStrip(Pane):
    """The strip.

    Attributes:
        jobs: says how far the jobs are; hidden when there is nothing to say.

    Signals:
        offline_wanted: the person pressed the switch; the new state wanted.
        jobs_wanted: the person pressed the words about the jobs.
    """

    offline_wanted = Signal(bool)
    jobs_wanted = Signal()

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(theme, ground="window", edge="top", parent=parent)
        self.setFixedHeight(MEASURE.strip)
        self._offline = False
        self._reached = True
        self._locked = False
        self._dot = Icon(theme, "dot", size=SPACE.small, colour="disabled")
        self._model = ElidedLabel(theme, "No model loaded", role="small", tone="secondary")
        self.jobs = Button(theme, "", kind="quiet", small=True, icon="download")
        self.jobs.setProperty("strip", True)
        self.jobs.setIconSize(QSize(MEASURE.icon_small + SPACE.tiny, MEASURE.icon_small))
        self.jobs.setToolTip("Show the downloads")
        self.jobs.clicked.connect(self.jobs_wanted)
        self.jobs.hide()
        self._network = Button(theme, "Online", kind="quiet", small=True)
        self._network.setProperty("strip", True)
        self._network.setIconSize(QSize(MEASURE.icon_small + SPACE.tiny, MEASURE.icon_small))
        self._network.clicked.connect(lambda: self.offline_wanted.emit(not self._offline))
        layout = hbox(self, margins=(SPACE.large, 0, SPACE.tiny, 0), spacing=SPACE.small)
        layout.addWidget(self._dot)
        layout.addWidget(self._model, 1)
        layout.addWidget(self.jobs)
        layout.addWidget(self._network)
        self.set_offline(offline=False)

    def show_loaded(self, models: Sequence[Loaded]) -> None:
        """Say what the service holds in memory now."""
        words, colour = loaded_words(models)
        if words != self._model.text():
            self._model.setText(words)
            self._dot.set_icon("dot", colour)

    def show_jobs(self, told: Summary) -> None:
        """Say how far the jobs are."""
        if told.words != self.jobs.text():
            self.jobs.setText(told.words)
            self.jobs.setIcon(self.theme.icon(told.icon, colour=told.tone))
            self.jobs.setVisible(bool(told.words))

    def set_offline(self, *, offline: bool, locked: bool = False) -> None:
        """Show whether the program keeps away from the network; `locked` when the environment says so."""
        self._offline, self._locked = offline, locked
        self._show_network()

    def set_reached(self, *, reached: bool) -> None:
        """Show whether the hub answered the last request."""
        if reached != self._reached:
            self._reached = reached
            self._show_network()

    @property
    def network_words(self) -> str:
        return self._network.text()

    def _show_network(self) -> None:
        offline, locked = self._offline, self._locked
        away = not offline and not self._reached
        self._network.setText("Offline" if offline else "Hub not reached" if away else "Online")
        self._network.set_icon("offline" if offline or away else "online")
        self._network.setEnabled(not locked)
        tip = "Press to work online" if offline else "Press to work offline"
        if away:
            tip = f"The hub did not answer the last request. {tip}"
        self._network.setToolTip("Set by the environment" if locked else tip)
        self._network.setAccessibleName("Work online" if offline else "Work offline")
