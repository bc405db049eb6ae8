"""Step 1: what is made smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QSizePolicy, QWidget

from slmdesk.gui.quantize.step_card import NoticeLine, StepCard
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import TextField
from slmdesk.gui.widgets.layouts import hbox
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.quantize.looking import SourceOffer, Subject
    from slmdesk.gui.theme import Theme


class SourceCard(StepCard):
    """Signals:
    chosen(object): a library id (text).
    file_wanted, folder_wanted, hub_wanted: the source is elsewhere.
    """

    chosen = Signal(object)
    file_wanted = Signal()
    folder_wanted = Signal()
    hub_wanted = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, 1, "Model")
        self._offers: tuple[SourceOffer, ...] = ()
        self.select = Select(theme)
        self.select.setAccessibleName("Model to quantize")
        self.select.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.select.chosen.connect(self.chosen)
        self._other = Button(theme, "Other", icon="folder", tip="A file or folder that is not in the library")
        self._other.setAccessibleName("Other file or folder")
        self._other.clicked.connect(self._open_menu)
        hub = Button(theme, "Find on the hub", icon="catalog", tip="Download a model in full precision first")
        hub.clicked.connect(self.hub_wanted)
        row = hbox(spacing=SPACE.small)
        row.addWidget(self.select, 1)
        row.addWidget(self._other)
        row.addWidget(hub)
        self.repo = TextField(theme, "", placeholder="publisher/name, or the address of its page")
        self.repo.setAccessibleName("Model on the hub")
        self._take = Button(theme, "Use it", icon="good")
        self._take.clicked.connect(self._take_repo)
        self.repo.returnPressed.connect(self._take_repo)
        self._hub_row = QWidget()
        across = hbox(self._hub_row, margins=0, spacing=SPACE.small)
        across.addWidget(self.repo, 1)
        across.addWidget(self._take)
        self._hub_row.hide()
        self.body.addWidget(self._hub_row)
        self._facts = Label(theme, "Looking at your models", role="small", tone="secondary", wrap=True)
        self._warning = NoticeLine(theme, "attention", "caution")
        self._note = NoticeLine(theme, "about", "secondary")
        self._panel: ErrorPanel | None = None
        for part in (self._facts, self._warning, self._note):
            self.body.addWidget(part)
        self.body.insertLayout(0, row)

    @property
    def facts(self) -> str:
        return self._facts.text()

    @property
    def warning(self) -> str:
        return "" if self._warning.isHidden() else self._warning.words.text()

    def show_offers(self, offers: Sequence[SourceOffer], current: str) -> None:
        """List what can be chosen; full files first, the others with a mark."""
        self._offers = tuple(offers)
        self.select.clear()
        for offer in self._offers:
            self.select.addItem(offer.title if offer.full else f"{offer.title} (quantized already)", offer.id)
        self._show_current(current, "")
        if not self._offers and not current:
            self._facts.setText(
                "Your library holds no model that could be made smaller. Find one on the hub."
            )

    def _show_current(self, reference: str, title: str) -> None:
        at = self.select.findData(reference)
        if at < 0:
            known = next((o.id for o in self._offers if str(o.path) == reference), None)
            at = self.select.findData(known) if known is not None else -1
        if at < 0 and title:
            self.select.insertItem(0, title, reference)
            at = 0
        self.select.setCurrentIndex(at)

    def show_subject(self, subject: Subject) -> None:
        self._drop_panel()
        where = "on the hub" if subject.hub else "opened by hand"
        self._show_current(subject.id, f"{subject.id if subject.hub else subject.origin.path.name} ({where})")
        if subject.hub:
            self._hub_row.hide()
        self._facts.setText(subject.facts)
        self._facts.show()
        self._warning.say(subject.warning)
        self._note.say(subject.note)

    def show_refused(self, error: SlmDeskError) -> None:
        """The source cannot be used; say why and offer another."""
        self._drop_panel()
        self.select.setCurrentIndex(-1)
        self._facts.hide()
        self._warning.say("")
        self._note.say("")
        self._panel = ErrorPanel(
            self.theme, error, action=("Open another file", self.file_wanted.emit), closable=False
        )
        self.body.addWidget(self._panel)

    def _drop_panel(self) -> None:
        if self._panel is not None:
            self.body.removeWidget(self._panel)
            let_go(self._panel)
            self._panel = None

    def ask_repo(self) -> None:
        """Let the person name a model on the hub."""
        self._hub_row.show()
        self.repo.setFocus(Qt.FocusReason.OtherFocusReason)

    def _take_repo(self) -> None:
        if text := self.repo.text().strip():
            self.chosen.emit(text)

    def _open_menu(self) -> None:
        menu = Menu(self.theme, parent=self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.add("A GGUF file", self.file_wanted.emit, icon="file")
        menu.add("A folder with safetensors files", self.folder_wanted.emit, icon="folder")
        menu.add("A model on the hub, by its name", self.ask_repo, icon="catalog")
        menu.popup(self._other.mapToGlobal(self._other.rect().bottomLeft()))
