"""One model of the catalog: about, files, forecast, card, and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.core.error_codes import LICENCE, TOKEN
from slmdesk.gui.catalog.choice_table import ChoiceTable, name_of
from slmdesk.gui.catalog.forecast_view import ForecastView
from slmdesk.gui.catalog.gate import GatePanel
from slmdesk.gui.catalog.row_words import publisher_and_name
from slmdesk.gui.downloads import words as job_words
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Label
from slmdesk.gui.widgets.buttons import Button, IconButton, Spinner
from slmdesk.gui.widgets.chips import Badge, Chip
from slmdesk.gui.widgets.flow import FlowLayout
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.panels import EmptyState, ErrorPanel
from slmdesk.gui.widgets.progress import ShareBar
from slmdesk.gui.widgets.scrolling import ScrollingColumn
from slmdesk.gui.widgets.switches import Switch
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.pages import Card, ModelPage
    from slmdesk.catalog.records import CatalogEntry
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.catalog.card_view import CardView
    from slmdesk.gui.page import Remedy
    from slmdesk.gui.theme import Theme

CONTEXTS = (2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)


class CatalogDetail(QWidget):
    """The pane at the right.

    Signals:
        download_wanted(Choice): the chosen file is wanted.
        chat_wanted(str): a file that is here, by its library id.
        repo_wanted(str): the files of another repository of the same model are wanted.
        context_wanted(int): the forecast for another context; 0 for the usual one.
        compare_toggled(bool): the model is to be compared with others, or no longer.
        page_wanted, retry, downloads_wanted: the page on the hub, another try, the Downloads page.
        token_given(str), again: an access token was entered; what the hub asks for was done.
    """

    download_wanted = Signal(object)
    chat_wanted = Signal(str)
    repo_wanted = Signal(str)
    context_wanted = Signal(int)
    compare_toggled = Signal(bool)
    page_wanted = Signal()
    retry = Signal()
    token_given = Signal(str)
    again = Signal()
    downloads_wanted = Signal()

    def __init__(
        self, theme: Theme, file_here: Callable[[str, Choice], str], help_choose: Callable[[], object]
    ) -> None:
        super().__init__()
        self.theme = theme
        self.page: ModelPage | None = None
        self._memory_total = 0
        self._remedy: Remedy | None = None  # where the hub cannot be asked
        self._judged = False
        self._file_here = file_here
        self._job: Job | None = None
        self._card: CardView | None = None
        self._error: ErrorPanel | None = None
        self._make_pieces()
        self._stack = QStackedWidget(self)
        self._stack.addWidget(
            EmptyState(
                theme,
                "catalog",
                "Choose a model to see its files, what they take of this machine's memory, and its card.",
                action=("Help me choose", help_choose),
            )
        )
        self._stack.addWidget(self._area())
        layout = vbox(self, margins=0)
        layout.addWidget(self._stack)

    # What is shown

    def show_memory(self, total: int) -> None:
        """The memory of this machine, in bytes."""
        self._memory_total = total

    def show_entry(self, entry: CatalogEntry, about: str, repos: Sequence[str], *, compared: bool) -> None:
        """Show what the list knows; the files follow."""
        publisher, name = publisher_and_name(entry.id)
        self._job = None
        self._title.setText(name)
        self._publisher.setText(publisher)
        self._about.setText(about)
        self.show_compared(on=compared)
        self._show_badges(entry)
        self.show_repos(repos, repos[0] if repos else entry.id)
        self.forget_page()
        self._card_box.hide()
        self.put_gate_away()
        self.show_problem(None)
        self._stack.setCurrentIndex(1)
        self._scroll.verticalScrollBar().setValue(0)

    def forget_page(self) -> None:
        """The files are being asked for; what was known of them before counts no more."""
        self.page = None
        self._files.hide()
        self._actions.hide()
        self._waiting.show()
        self._note.hide()

    def show_repos(self, repos: Sequence[str], current: str) -> None:
        """The repositories that hold the model."""
        self._repos.set_choices([(repo, repo) for repo in repos], current)
        self._repo_row.setVisible(len(repos) > 1)

    def show_page(self, page: ModelPage, remedy: Remedy | None, *, judged: bool) -> None:
        """Show the files, at first without forecasts. `remedy` leads to a hub that cannot be asked now."""
        self._remedy = remedy
        wanted = ""
        chosen = self._table.chosen()
        if self._judged and chosen is not None and self.page is not None and self.page.repo == page.repo:
            # Another context may have another best choice; what a person picked stays.
            was_best = any(choice.best and choice.id == chosen.id for choice in self.page.choices)
            wanted = "" if was_best else chosen.id
        self._judged = judged
        self.page = page
        self._waiting.setVisible(not judged)
        self._note.setText(page.note)
        self._note.setVisible(bool(page.note))
        self._show_badges(page.entry, gate=page.info.gate, flagged=len(page.flagged))
        length = page.architecture.context_length if page.architecture else page.entry.context_length
        self._show_contexts(length)
        self._table.show_choices(page.choices, wanted)
        self._files.setVisible(bool(page.choices))
        self._none.setVisible(not page.choices)
        self._actions.setVisible(bool(page.choices))
        self._show_choice()

    def show_card(self, card: Card | None) -> None:
        """Show the publisher's text; None hides it."""
        self._card_box.setVisible(bool(card and card.text))
        if not card or not card.text:
            return
        if self._card is None:
            from slmdesk.gui.catalog.card_view import CardView

            self._card = CardView(self.theme, self._card_box)
            self._card_layout.addWidget(self._card)
        notes = [card.note] if card.note else []
        if card.pictures:
            notes.append("Its pictures are left out; the page on the hub has them.")
        self._card_note.setText(" ".join(notes))
        self._card_note.setVisible(bool(notes))
        self._card.show_text(card.text)

    def show_problem(
        self, error: SlmDeskError | None, action: Remedy | None = None, address: str = ""
    ) -> None:
        """What went wrong, where it happened; licence and token have a panel of their own, which leads to the
        model's page on the hub, `address`."""
        if self._error is not None:
            self._error.hide()
            self._error.deleteLater()
            self._error = None
        if error is None:
            return
        self._waiting.hide()
        if error.code in TOKEN | LICENCE:
            self._gate.show_error(error, address)
            return
        self._error = ErrorPanel(self.theme, error, action=action or ("Try again", self.retry.emit))
        self._problems.addWidget(self._error)
        self._scroll.verticalScrollBar().setValue(0)

    def show_job(self, job: Job | None) -> None:
        """A download of this model that is under way."""
        self._job = job
        self._show_action()

    def show_starting(self, *, on: bool) -> None:
        """The hub is being asked for the download."""
        self._main.set_busy(on)

    def show_compared(self, *, on: bool) -> None:
        """Show whether the model is among those to be compared."""
        self._compare.blockSignals(True)
        self._compare.setChecked(on)
        self._compare.blockSignals(False)

    def show_wrong_token(self, words: str) -> None:
        """Why the hub does not take the token."""
        self._gate.show_wrong(words)

    def show_token_checked(self) -> None:
        """The hub has answered about the token."""
        self._gate.set_busy(busy=False)

    def put_gate_away(self) -> None:
        """Neither token nor licence is asked for any more."""
        self._gate.put_away()

    @property
    def chosen(self) -> Choice | None:
        """The file chosen in the table."""
        return self._table.chosen()

    @property
    def context(self) -> int:
        """The context the forecast is for; 0: the usual one."""
        return int(self._contexts.value or 0)

    @property
    def chat_when_ready(self) -> bool:
        return self._then_chat.isChecked()

    def close_up(self) -> None:
        if self._card is not None:
            self._card.close_up()

    # Pieces

    def _make_pieces(self) -> None:
        theme = self.theme
        self._title = Label(theme, role="title", wrap=True, selectable=True)
        self._publisher = ElidedLabel(theme, tone="secondary")
        self._about = Label(theme, wrap=True)
        self._badges = QWidget()
        self._badge_flow = FlowLayout(self._badges, spacing=SPACE.small, line=SPACE.tiny)
        self._compare = Chip(theme, "Compare")
        self._compare.toggled.connect(self.compare_toggled)
        self._link = IconButton(theme, "link", "Open its page on the hub")
        self._link.clicked.connect(self.page_wanted)
        self._gate = GatePanel(theme)
        self._gate.token_given.connect(self.token_given)
        self._gate.again.connect(self.again)
        self._problems = QVBoxLayout()
        self._note = Label(theme, role="small", tone="caution", wrap=True)
        self._repos = Select(theme)
        self._repos.setAccessibleName("Repository")
        self._repos.setSizeAdjustPolicy(Select.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._repos.setMinimumContentsLength(12)
        self._repos.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._repos.chosen.connect(lambda repo: self.repo_wanted.emit(str(repo)))
        self._contexts = Select(theme, [(0, "Usual context")])
        self._contexts.setAccessibleName("Context for the forecast")
        self._contexts.chosen.connect(lambda context: self.context_wanted.emit(int(context)))
        self._table = ChoiceTable(theme, self._is_here)
        self._table.picked.connect(lambda _: self._show_choice())
        self._forecast = ForecastView(theme)
        self._reason = Label(theme, role="small", tone="secondary", wrap=True)
        self._none = Label(theme, "There are no model files in this repository.", tone="secondary", wrap=True)
        self._none.hide()
        self._main = Button(theme, "Download", kind="primary", icon="download")
        self._main.clicked.connect(self._act)
        self._bar = ShareBar(theme, "Download", height=MEASURE.bar)
        self._progress = ElidedLabel(theme, role="small", tone="secondary")
        self._show_downloads = Button(theme, "Show", kind="link", small=True)
        self._show_downloads.clicked.connect(self.downloads_wanted)
        self._then_chat = Switch(theme, "Open in a chat when it is here")
        self._then_words = Label(theme, "Open in a chat when it is here", role="small", tone="secondary")

    def _area(self) -> QWidget:
        self._make_card_box()
        self._make_waiting()
        self._scroll = ScrollingColumn(top=SPACE.large, spacing=SPACE.medium)
        column = self._scroll.column
        head = hbox(spacing=SPACE.small)
        names = vbox(spacing=0)
        names.addWidget(self._title)
        names.addWidget(self._publisher)
        head.addLayout(names, 1)
        marks = hbox(spacing=SPACE.tiny)
        marks.addWidget(self._compare)
        marks.addWidget(self._link)
        beside = QVBoxLayout()
        beside.addLayout(marks)
        beside.addStretch(1)
        head.addLayout(beside)
        column.addLayout(head)
        column.addWidget(self._badges)
        column.addWidget(self._about)
        column.addWidget(self._note)
        column.addWidget(self._gate)
        column.addLayout(self._problems)
        self._actions = self._make_actions()
        column.addWidget(self._actions)
        column.addWidget(self._waiting)
        self._files = self._make_files()
        column.addWidget(self._files)
        column.addWidget(self._none)
        column.addWidget(self._card_box)
        column.addStretch(1)
        return self._scroll

    def _make_card_box(self) -> None:
        theme = self.theme
        self._card_box = QWidget()
        self._card_layout = vbox(self._card_box, margins=(0, SPACE.medium, 0, 0), spacing=SPACE.small)
        self._card_layout.addWidget(Label(theme, "From its publisher", role="emphasis"))
        self._card_note = Label(theme, role="small", tone="secondary", wrap=True)
        self._card_layout.addWidget(self._card_note)

    def _make_waiting(self) -> None:
        theme = self.theme
        self._waiting = QWidget()
        waiting = hbox(self._waiting, margins=0)
        waiting.addWidget(Spinner(theme, "Looking at its files", size=MEASURE.icon_small))
        waiting.addWidget(Label(theme, "Looking at its files …", role="small", tone="secondary"), 1)

    def _make_actions(self) -> QWidget:
        box = QWidget()
        lines = vbox(box, margins=(0, SPACE.tiny, 0, SPACE.tiny), spacing=SPACE.small)
        self._action_flow = QWidget()
        flow = FlowLayout(self._action_flow, spacing=SPACE.large, line=SPACE.small)
        flow.addWidget(self._main)
        self._then = QWidget()
        then = hbox(self._then, margins=0, spacing=SPACE.small)
        then.addWidget(self._then_chat)
        then.addWidget(self._then_words)
        flow.addWidget(self._then)
        lines.addWidget(self._action_flow)
        self._coming = QWidget()
        coming = vbox(self._coming, margins=0, spacing=SPACE.tiny)
        coming.addWidget(self._bar)
        row = QHBoxLayout()
        row.addWidget(self._progress, 1)
        row.addWidget(self._show_downloads)
        coming.addLayout(row)
        lines.addWidget(self._coming)
        lines.addWidget(self._reason)
        return box

    def _make_files(self) -> QWidget:
        theme = self.theme
        box = QWidget()
        lines = vbox(box, margins=0, spacing=SPACE.small)
        top = QHBoxLayout()
        top.addWidget(Label(theme, "Files", role="emphasis"))
        top.addStretch(1)
        top.addWidget(self._contexts)
        lines.addLayout(top)
        self._repo_row = QWidget()
        row = hbox(self._repo_row, margins=0, spacing=SPACE.small)
        row.addWidget(Label(theme, "From", role="small", tone="secondary"))
        row.addWidget(self._repos, 1)
        lines.addWidget(self._repo_row)
        lines.addWidget(self._table)
        self._memory = QWidget()
        memory = vbox(self._memory, margins=(0, SPACE.medium, 0, 0), spacing=SPACE.small)
        self._memory_title = Label(theme, "Memory", role="emphasis")
        memory.addWidget(self._memory_title)
        memory.addWidget(self._forecast)
        lines.addWidget(self._memory)
        return box

    # Details

    def _show_badges(self, entry: CatalogEntry, *, gate: str = "", flagged: int = 0) -> None:
        while (item := self._badge_flow.takeAt(0)) is not None:
            old = item.widget()
            if old is not None:
                old.hide()
                old.deleteLater()
        found: list[tuple[str, str, str, str]] = []
        if entry.parameters:
            tier = f", {entry.tier}" if entry.tier else ""
            found.append(
                (f"{amounts.parameters(entry.parameters)} parameters{tier}", "model", "secondary", "")
            )
        if entry.licence:
            found.append((entry.licence, "file", "secondary", "The licence its publisher names"))
        if entry.context_length:
            found.append((f"{amounts.tokens(entry.context_length)} context", "text", "secondary", ""))
        if entry.gated or gate:
            tip = (
                "The publisher decides who gets it" if gate == "manual" else "Accept its licence on its page"
            )
            found.append(("Licence to accept", "lock", "caution", tip))
        if flagged:
            found.append(
                (f"{amounts.counted(flagged, 'file')} warned of", "damaged", "bad", "By the hub's scanners")
            )
        for text, icon, tone, tip in found:
            badge = Badge(self.theme, text, icon, tone, tip=tip, parent=self._badges)  # type: ignore[arg-type]
            self._badge_flow.addWidget(badge)
            badge.show()
        self._badges.setVisible(bool(found))
        self._badges.updateGeometry()

    def _show_contexts(self, longest: int) -> None:
        chosen = self.context
        fitting = [context for context in CONTEXTS if not longest or context <= longest]
        choices = [(0, "Usual context")] + [
            (context, f"{amounts.tokens(context)} context") for context in fitting
        ]
        self._contexts.set_choices(choices, chosen)

    def _is_here(self, choice: Choice) -> bool:
        return bool(self.page and self._file_here(self.page.repo, choice))

    def _show_choice(self) -> None:
        choice = self._table.chosen()
        fit = choice.fit if choice else None
        self._memory.setVisible(fit is not None)
        if choice is not None and fit is not None:
            self._memory_title.setText(f"Memory of {name_of(choice)}")
            self._forecast.show_fit(fit, self._memory_total)
        self._show_action()

    def _show_action(self) -> None:
        choice, page = self._table.chosen(), self.page
        if choice is None or page is None:
            return
        here = self._file_here(page.repo, choice)
        job = self._job if self._job is not None and not here else None
        self._coming.setVisible(job is not None)
        self._then.setVisible(not here and job is None and choice.runs and not page.listed)
        self._main.setVisible(job is None)
        self._action_flow.setVisible(job is None)
        if job is not None:
            self._bar.set_share(job_words.share_of(job))
            parts = [job_words.now_words(job)]
            if job.state == "running" and job.remaining:
                parts.append(f"{amounts.duration(job.remaining)} left")
            self._progress.setText(" · ".join(parts))
        elif here:
            self._main.setText("Chat")
            self._main.set_icon("chat")
        elif page.listed:
            self._main.setText(self._remedy[0] if self._remedy else "Try again")
            self._main.set_icon("online" if self._remedy else "refresh")
        else:
            self._main.setText(f"Download {name_of(choice)}, {amounts.size(choice.size_bytes)}")
            self._main.set_icon("download")
        self._main.setEnabled(not choice.missing_parts and (choice.runs or not here))
        best = self.page.best if self.page else None
        reason = choice.reason
        if not reason and best is not None and best is not choice and choice.runs:
            reason = f"The best choice for this machine is {name_of(best)}."
        if choice.missing_parts:
            reason = f"{amounts.counted(choice.missing_parts, 'part')} of this file are not on the hub."
        elif choice.kind == "pickle":
            reason = "Loading such a file runs whatever program hides in it. Take another format."
        elif not choice.runs and choice.kind in {"safetensors", "onnx", "mlx"}:
            reason = "It does not run here as it is; Quantize makes a GGUF file of safetensors."
        self._reason.setText(reason)
        self._reason.setVisible(bool(reason))

    def _act(self) -> None:
        choice, page = self._table.chosen(), self.page
        if choice is None or page is None:
            return
        here = self._file_here(page.repo, choice)
        if here:
            self.chat_wanted.emit(here)
        elif page.listed:
            (self._remedy[1] if self._remedy else self.retry.emit)()
        else:
            self.download_wanted.emit(choice)
