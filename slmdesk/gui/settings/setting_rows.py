"""One row of the settings page, made from the declaration of its setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal

from slmdesk.gui.live_settings import choice_words, value_words
from slmdesk.gui.settings.folder_list import FolderList
from slmdesk.gui.settings.model_select import ModelSelect
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label, restyle
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow
from slmdesk.gui.widgets.fields import TextArea, TextField
from slmdesk.gui.widgets.layouts import hbox
from slmdesk.gui.widgets.switches import SegmentedSwitch, Switch
from slmdesk.gui.widgets.values import DecimalField, NumberField

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtWidgets import QWidget

    from slmdesk.core.setting_table import Setting, Value
    from slmdesk.core.settings import Source
    from slmdesk.gui.page import WindowServices

FINE_STEP = 0.05
LARGE_STEP = 256
PROMPT_LINES = (2, 8)


class SettingRow(CardRow):
    """Title, help, default, and the control that suits the setting's type.

    Attributes:
        setting: the declaration.
        control: the control.

    Signals:
        edited: the value a person entered.
        reset: the person wants the default.
    """

    edited = Signal(object)
    reset = Signal()

    def __init__(self, services: WindowServices, setting: Setting) -> None:
        help_text = setting.help
        if setting.restart:
            help_text += " Counts from the next start on."
        super().__init__(services.theme, setting.title, help_text)
        self.setting = setting
        self.services = services
        self._show_value: Callable[[Value], None]
        self.control = self._make_control()
        self.control.setAccessibleName(setting.title)
        self.control.setAccessibleDescription(help_text)
        self._default = Label(
            services.theme,
            f"Default: {value_words(setting, setting.default)}",
            role="small",
            tone="secondary",
        )
        self._problem = Label(services.theme, "", role="small", tone="bad", wrap=True)
        self._problem.hide()
        self._lock = Icon(services.theme, "lock", size=MEASURE.icon_small, colour="secondary")
        self._lock.hide()
        self._reset = Button(services.theme, "Reset", kind="link", small=True)
        self._reset.setAccessibleName(f"Reset {setting.title}")
        self._reset.clicked.connect(self.reset)
        foot = hbox(spacing=SPACE.tiny)
        foot.addWidget(self._lock)
        foot.addWidget(self._default)
        foot.addWidget(self._reset)
        foot.addStretch(1)
        self.body.addWidget(self._problem)
        self.body.addLayout(foot)
        if setting.form in {"multiline", "folders"}:
            self.body.addWidget(self.control)
        else:
            self.trailing.addWidget(self.control)

    @property
    def words(self) -> str:
        """What the search looks through."""
        setting = self.setting
        return " ".join(
            (setting.title, setting.help, setting.key, setting.group, setting.also, *setting.choices)
        ).casefold()

    @property
    def foot_words(self) -> str:
        """What stands below the help: the default, or why a value was not taken."""
        return self._problem.text() or self._default.text()

    def show_value(self, value: Value, source: Source) -> None:
        """Show the value in force and where it comes from."""
        self._show_value(value)
        self.set_error("")
        locked = source == "environment"
        self.control.setEnabled(not locked)
        self._lock.setVisible(locked)
        default = f"Default: {value_words(self.setting, self.setting.default)}"
        self._default.setText(f"Set by the environment ({self.setting.variable})" if locked else default)
        self._reset.setVisible(source == "file" and value != self.setting.default)

    def set_error(self, text: str) -> None:
        """Say why a value was not taken; "" when all is well."""
        restyle(self.control, "invalid", bool(text))
        self._problem.setText(self._plain(text))
        self._problem.setVisible(bool(text))
        self._default.setVisible(not text)

    def _plain(self, text: str) -> str:
        """Without the setting's key, which only settings.toml and the command line know."""
        plain = text.replace(f"{self.setting.key}: ", "").replace(self.setting.key, self.setting.title)
        return plain[:1].upper() + plain[1:]

    def _make_control(self) -> QWidget:
        setting = self.setting
        if setting.type is bool:
            return self._switch()
        if setting.choices:
            return self._choice()
        if setting.type is int:
            return self._number()
        if setting.type is float:
            return self._decimal()
        if setting.form == "multiline":
            return self._prompt()
        if setting.form == "folders":
            return self._folders()
        if setting.form == "model":
            return self._model()
        return self._text()

    def _switch(self) -> QWidget:
        control = Switch(self.theme, self.setting.title)
        control.clicked.connect(lambda on: self.edited.emit(bool(on)))
        self._show_value = lambda value: control.setChecked(bool(value))
        return control

    def _choice(self) -> QWidget:
        choices = [(choice, choice_words(choice)) for choice in self.setting.choices]
        control = SegmentedSwitch(self.theme, choices, value=self.setting.default, name=self.setting.title)
        control.changed.connect(self.edited)
        self._show_value = control.set_value
        return control

    def _number(self) -> QWidget:
        setting = self.setting
        least = int(setting.minimum) if setting.minimum is not None else -(2**31)
        most = int(setting.maximum) if setting.maximum is not None else 2**31 - 1
        step = LARGE_STEP if setting.unit == "tokens" else 1
        control = NumberField(self.theme, least=least, most=most, step=step, unit=setting.unit)
        if setting.special:
            control.setSpecialValueText(setting.special.capitalize())
        control.setGroupSeparatorShown(most > 65535)
        control.setFixedWidth(MEASURE.field_number)
        control.valueChanged.connect(self._typed)
        control.refused.connect(self._refuse)

        def show(value: Value) -> None:
            control.blockSignals(True)
            control.setValue(int(value))
            control.blockSignals(False)

        self._show_value = show
        return control

    def _decimal(self) -> QWidget:
        setting = self.setting
        control = DecimalField(
            self.theme,
            least=setting.minimum or 0.0,
            most=setting.maximum or 1e9,
            step=FINE_STEP,
            unit=setting.unit,
        )
        control.setFixedWidth(MEASURE.field_number)
        # 0.1 + 0.2 is shown, and is to be stored, as 0.3.
        control.valueChanged.connect(lambda value: self._typed(round(value, control.decimals())))
        control.refused.connect(self._refuse)

        def show(value: Value) -> None:
            control.blockSignals(True)
            control.setValue(float(value))
            control.blockSignals(False)

        self._show_value = show
        return control

    def _text(self) -> QWidget:
        control = TextField(self.theme)
        control.setFixedWidth(MEASURE.field_small * 2)
        control.editingFinished.connect(lambda: self._typed(control.text().strip()))
        self._show_value = lambda value: control.setText(str(value))
        return control

    def _model(self) -> QWidget:
        control = ModelSelect(self.services, self.setting.title)
        control.chosen.connect(self._typed)
        self._show_value = lambda value: control.show_model(str(value))
        return control

    def _prompt(self) -> QWidget:
        lines, most = PROMPT_LINES
        control = TextArea(self.theme, placeholder="No instructions", lines=lines, most=most)
        control.committed.connect(self._typed)
        self._show_value = lambda value: control.setPlainText(str(value))
        return control

    def _folders(self) -> QWidget:
        control = FolderList(self.services, self.setting.title)
        # Signals of different types do not connect directly.
        control.edited.connect(lambda folders: self.edited.emit(str(folders)))
        self._show_value = lambda value: control.set_value(str(value))
        return control

    def _refuse(self, text: str) -> None:
        self.set_error(f"{text} is not taken: {self.setting.title} takes {self.setting.limits()}.")

    def _typed(self, value: object) -> None:
        if value != self.services.settings.get(self.setting.key):
            self.edited.emit(value)
