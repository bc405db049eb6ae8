"""Rows for what one model keeps: the settings' own rows, with who says what counts below each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt

from slmdesk.gui.live_settings import value_words
from slmdesk.gui.settings.setting_rows import PROMPT_LINES, SettingRow
from slmdesk.gui.widgets.fields import TextArea
from slmdesk.inference.limits import LISTS

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from slmdesk.core.setting_table import Setting
    from slmdesk.gui.page import WindowServices
    from slmdesk.inference.limits import Value
    from slmdesk.library.in_force import InForce

ANY_SEED = -1
_SHORT = 14  # characters that fit on a button beside the words
_MOST_SEED = 2**31 - 1  # what a spin box counts to
_HINTS = {
    "stop": r"One a line; \n stands for a line break",
    "system_prompt": "No instructions",
    "adapters": "One file a line; @0.5 behind it for half",
}


class ModelValueRow(SettingRow):
    """One value of a model."""

    def __init__(self, services: WindowServices, declared: Setting, *, compact: bool = False) -> None:
        """`compact`: its help shows when it is pointed at."""
        self._shown: object = None
        self.declared = declared
        super().__init__(services, _as_field(declared))
        self._reset.setAccessibleName(f"Let go of {declared.title}")
        if compact:
            self.text.hide()
            self.setToolTip(self.text.text())
        # A model's page is narrower than the settings': both lines may wrap.
        self._default.setWordWrap(True)
        at = self.body.count() - (1 if declared.form == "multiline" else 0)
        self.body.insertWidget(at, self._default)
        self.body.insertWidget(at + 1, self._reset, 0, Qt.AlignmentFlag.AlignLeft)

    def show_in_force(self, in_force: InForce) -> None:
        """Show the value that counts, and who says so."""
        value, says = in_force.value(self.declared)
        self._shown = _to_field(self.declared, value)
        self.set_error("")
        if not (self.control.hasFocus() and isinstance(self.control, TextArea)):
            self._show_value(self._shown)
        foot = {
            "model": "Kept for this model",
            "brought": f"As {in_force.kept.source} runs it",
            "settings": "As the settings say",
            "publisher": "As its publisher recommends",
            "default": f"Default: {value_words(self.setting, self._shown)}",
        }[says]
        self._default.setText(foot)
        self._reset.setVisible(says == "model")
        if says == "model":
            self._offer_reset(in_force)

    def _offer_reset(self, in_force: InForce) -> None:
        """Say what counts when the person lets go of the value, and who says so."""
        brought = in_force.kept.brought.get(self.declared.key)
        value, says = (brought, "brought") if brought is not None else in_force.without(self.declared)
        words = self._words(value)
        self._reset.setText(f"Reset to {words}" if len(words) <= _SHORT else "Reset")
        who = {
            "brought": f"{in_force.kept.source} runs it with",
            "settings": "The settings say",
            "publisher": "Its publisher recommends",
        }.get(says, "Default:")
        self._reset.setToolTip(f"{who} {words}")

    def _words(self, value: Value | None) -> str:
        return value_words(self.setting, _to_field(self.declared, value))

    def _prompt(self) -> QWidget:
        lines, most = (1, 4) if self.declared.key in LISTS else PROMPT_LINES
        hint = _HINTS.get(self.declared.key, "")
        control = TextArea(self.theme, placeholder=hint, lines=lines, most=most)
        control.committed.connect(self._typed)
        self._show_value = lambda value: control.setPlainText(str(value))
        return control

    def _typed(self, value: object) -> None:
        if value != self._shown:
            self.edited.emit(_from_field(self.declared, value))


def _as_field(declared: Setting) -> Setting:
    """The declaration as a control can show it."""
    if declared.key == "seed":
        return replace(declared, minimum=ANY_SEED, maximum=_MOST_SEED, default=ANY_SEED, special="any")
    return declared


def _to_field(declared: Setting, value: Value | None) -> int | float | str:
    if declared.key == "seed":
        return min(value, _MOST_SEED) if isinstance(value, int) else ANY_SEED
    if isinstance(value, tuple) and declared.key == "adapters":
        return "\n".join(value)
    if isinstance(value, tuple):
        return "\n".join(
            stop.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t") for stop in value
        )
    return "" if value is None else value


def _from_field(declared: Setting, value: object) -> object:
    """What is kept; None lets go of it."""
    if declared.key == "seed":
        return None if value == ANY_SEED else value
    if declared.key == "adapters":
        return str(value).splitlines()
    if declared.key == "stop":
        return [_unescaped(line) for line in str(value).splitlines() if line]
    return value


def _unescaped(line: str) -> str:
    kept = line.replace("\\\\", "\0")
    return kept.replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")
