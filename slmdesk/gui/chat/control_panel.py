"""The panel beside a conversation: instructions, what its answers keep to, and how its model answers and is loaded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer

from slmdesk.gui.chat.controls_controller import ControlsController
from slmdesk.gui.chat.preset_row import PresetRow
from slmdesk.gui.library.model_panel import ModelPanel
from slmdesk.gui.live_settings import choice_words
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import LabelledField, TextArea
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.scrolling import ScrollingColumn

if TYPE_CHECKING:
    from slmdesk.chat.presets import AnswerPreset, InstructionPreset
    from slmdesk.chat.rules import AnswerRules
    from slmdesk.gui.chat.chat_controller import ChatController
    from slmdesk.gui.page import WindowServices
    from slmdesk.inference.asks import Overflow
    from slmdesk.library.records import LibraryFile

WIDTH = 384
CHECK_MS = 400
"""A schema is checked this long after the last key."""
_WAYS: tuple[Overflow, ...] = ("drop_oldest", "keep_ends", "refuse")
_HELP = {
    "drop_oldest": "The oldest turns are left out where the conversation is longer than the context.",
    "keep_ends": "The first turn and the last ones stay; what is between them is left out.",
    "refuse": "Nothing is left out: a question that does not fit is refused.",
}


class ControlPanel(Pane):
    """Made when it is first opened.

    Attributes:
        controller: what it does.
        instructions, schema: the texts.
        instruction_presets, answer_presets: the presets of both kinds.
        overflow: what is done with a full context.
        model: the values of the model.

    """

    def __init__(self, services: WindowServices, chat: ChatController) -> None:
        theme = services.theme
        super().__init__(theme, ground="window", edge="left")
        self.controller = controller = ControlsController(services, self, chat)
        self.setAccessibleName("Instructions and sampling")
        self.setFixedWidth(WIDTH)
        self._theme = theme
        self._instructions: dict[str, InstructionPreset] = {}
        self._answers: dict[str, AnswerPreset] = {}
        self._conversation: int | None = None
        self._chat = chat

        self.instruction_presets = PresetRow(theme, "Instructions")
        self.instruction_presets.chosen.connect(self._take_instructions)
        self.instruction_presets.named.connect(self._keep_instructions)
        self.instruction_presets.removed.connect(
            lambda name: controller.remove_instructions(self._instructions[name])
        )
        self.instructions = TextArea(
            theme, placeholder="None: the model as its publisher made it", lines=3, most=10
        )
        self.instructions.setAccessibleName("Instructions for this conversation")
        self.instructions.committed.connect(controller.set_instructions)

        self.overflow = Button(theme, "", icon="chevron-down", small=True)
        self.overflow.clicked.connect(self._choose_overflow)
        self._overflow = LabelledField(theme, "When the context is full", self.overflow, help_text=" ")
        self.schema = TextArea(theme, placeholder="None: answers are free text", lines=2, most=12)
        self.schema.setFont(theme.code_font())
        self.schema.committed.connect(controller.set_schema)
        self.schema.textChanged.connect(self._schema_typed)
        self._schema = LabelledField(
            theme, "JSON Schema", self.schema, help_text="Each answer is JSON that this schema allows."
        )
        self._check = QTimer(self)
        self._check.setSingleShot(True)
        self._check.setInterval(CHECK_MS)
        self._check.timeout.connect(lambda: controller.check_schema(self.schema.toPlainText()))

        self.answer_presets = PresetRow(theme, "This model")
        self.answer_presets.chosen.connect(self._take_answers)
        self.answer_presets.named.connect(self._keep_answers)
        self.answer_presets.removed.connect(lambda name: controller.remove_answers(self._answers[name]))
        self._scope = Label(
            theme, "Kept for the model, in every conversation.", role="small", tone="secondary", wrap=True
        )
        self.model = ModelPanel(services, compact=True)
        self.model.load_wanted.connect(controller.load_anew)

        scroll = ScrollingColumn(top=SPACE.large, spacing=SPACE.medium)
        vbox(self, margins=0).addWidget(scroll)
        for widget in (
            self.instruction_presets,
            self.instructions,
            self._overflow,
            self._schema,
            self.answer_presets,
            self._scope,
            self.model,
        ):
            scroll.column.addWidget(widget)
        scroll.column.addStretch(1)

    def look(self) -> None:
        """Another conversation is shown, or another model would answer."""
        self.controller.look()

    # What the controller shows

    def show_conversation(self, instructions: str, rules: AnswerRules, usual: Overflow) -> None:
        another = self._chat.current != self._conversation
        self._conversation = self._chat.current
        _put(self.instructions, instructions, another=another)
        if another or not self._check.isActive():
            _put(self.schema, rules.schema, another=another)
            self._check.stop()
        if another:
            self._schema.set_error("")
        way = rules.overflow or usual
        self.overflow.setText(choice_words(way))
        self._overflow.set_help(_HELP[way])

    def show_presets(self, instructions: list[InstructionPreset], answers: list[AnswerPreset]) -> None:
        self._instructions = {preset.name: preset for preset in instructions}
        self._answers = {preset.name: preset for preset in answers}
        self.instruction_presets.show_names(list(self._instructions))
        self.answer_presets.show_names(list(self._answers))

    def show_file(self, file: LibraryFile | None) -> None:
        self.model.show_file(file)
        shown = self.model.file is not None
        self.answer_presets.setVisible(shown)
        self._scope.setVisible(shown)

    def show_schema_problem(self, words: str) -> None:
        self._schema.set_error(words)

    # What the person does

    def _schema_typed(self) -> None:
        if self.schema.hasFocus():
            self._check.start()

    def _take_instructions(self, name: str) -> None:
        text = self._instructions[name].text
        self.instructions.setPlainText(text)
        self.controller.set_instructions(text)

    def _keep_instructions(self, name: str) -> None:
        self.controller.keep_instructions(name, self.instructions.toPlainText())

    def _take_answers(self, name: str) -> None:
        self.model.controller.keep_all(self._answers[name].changes)

    def _keep_answers(self, name: str) -> None:
        in_force = self.model.in_force
        if in_force is not None:
            self.controller.keep_answers(name, in_force.kept.effective)

    def ways(self) -> Menu:
        """What the button for a full context opens."""
        menu = Menu(self._theme, parent=self)
        for way in _WAYS:
            menu.add(choice_words(way), partial(self._set_overflow, way))
        return menu

    def _choose_overflow(self) -> None:
        self.ways().open_below(self.overflow)

    def _set_overflow(self, way: Overflow) -> None:
        self.overflow.setText(choice_words(way))
        self._overflow.set_help(_HELP[way])
        self.controller.set_overflow(way)

    def focus(self) -> None:
        """Put the focus where one writes instructions."""
        self.instructions.setFocus(Qt.FocusReason.OtherFocusReason)


def _put(area: TextArea, text: str, *, another: bool) -> None:
    """Show a text, unless somebody is writing another one."""
    if area.toPlainText() != text and (another or not area.hasFocus()):
        area.setPlainText(text)
