"""What the palette offers of the Chat page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication

from slmdesk.gui.actions import Action
from slmdesk.gui.chat.exporting import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.chat.calling import Decision
    from slmdesk.chat.export import ExportFormat
    from slmdesk.gui.chat.chat_page import ChatPage
    from slmdesk.gui.chat.items import MessageItem


class ChatCommands:
    """The actions of a Chat page; those that make no sense at a moment are not offered then."""

    def __init__(self, page: ChatPage) -> None:
        self._page = page

    def all(self) -> list[Action]:
        """Every action by name."""
        page = self._page
        shown = self._shown
        return [
            Action("chat.new", "New chat", shown(page.new_chat), "Ctrl+N", "add"),
            Action("chat.guide", "Ask about SLM Desk", shown(page.ask_guide), "F1", "built-in"),
            Action("chat.stop", "Stop the answer", self._stop, "", "stop", self._running),
            Action(
                "chat.regenerate",
                "Regenerate the last answer",
                self._again,
                "Ctrl+R",
                "refresh",
                self._answered,
            ),
            Action(
                "chat.regenerate_with",
                "Regenerate the last answer with another model",
                shown(self._again_with),
                "Ctrl+Shift+R",
                "switch",
                self._answered,
            ),
            Action("chat.copy", "Copy the last answer", self._copy, "Ctrl+Shift+C", "copy", self._answered),
            Action(
                "chat.edit", "Edit the last message", shown(page.pane.edit_last), "", "edit", self._answered
            ),
            Action("chat.model", "Choose a model", shown(page.choose_model), "Ctrl+Shift+M", "model"),
            Action(
                "chat.panel",
                "Instructions and sampling",
                shown(page.toggle_panel),
                "Ctrl+Shift+I",
                "tune",
            ),
            Action("chat.tools", "Choose tools for this conversation", shown(page.tools.open), "", "tools"),
            Action(
                "chat.call", "Call the tool that is asked about", self._say("once"), "", "check", self._asked
            ),
            Action(
                "chat.refuse",
                "Refuse the tool that is asked about",
                self._say("refuse"),
                "",
                "close",
                self._asked,
            ),
            Action("chat.search", "Search conversations", shown(page.find_here), "", "search"),
            Action("chat.rename", "Rename the conversation", shown(self._rename), "", "edit", self._begun),
            Action("chat.delete", "Delete the conversation", self._delete, "", "delete", self._begun),
            *(
                Action(
                    f"chat.export.{form}",
                    f"Export the conversation as {words}",
                    partial(self._export, form),
                    "",
                    "export",
                    self._begun,
                )
                for form, words in FORMS.items()
            ),
            Action(
                "chat.import", "Import conversations", shown(page.controller.order.bring_in), "", "import"
            ),
        ]

    @property
    def _current(self) -> int:
        return self._page.controller.current

    def _begun(self) -> bool:
        return self._current != 0

    def _running(self) -> bool:
        return self._page.pane.composer.streaming

    def _answered(self) -> bool:
        return self._last_answer() is not None and not self._running()

    def _last_answer(self) -> MessageItem | None:
        answers = [item for item in self._page.pane.items if item.answer]
        return answers[-1] if answers else None

    def _asked_call(self) -> str:
        """The id of the call that a person is asked about, or ""."""
        calls = [call for item in self._page.pane.items[-1:] for call in item.calls]
        return next((call.id for call in calls if call.state == "asked"), "")

    def _asked(self) -> bool:
        return bool(self._asked_call())

    def _say(self, decision: Decision) -> Callable[[], None]:
        return lambda: self._page.controller.decide(self._asked_call(), decision)

    def _shown(self, run: Callable[[], object]) -> Callable[[], None]:
        """`run` with the Chat page in front."""

        def show_and_run() -> None:
            self._page.services.go_to(self._page.id)
            run()

        return show_and_run

    def _stop(self) -> None:
        self._page.controller.stop()

    def _again(self) -> None:
        answer = self._last_answer()
        if answer is not None:
            self._page.controller.regenerate(answer.id)

    def _again_with(self) -> None:
        answer = self._last_answer()
        if answer is not None:
            self._page.controller.regenerate_with(answer.id, self._page.pane.composer.model_button)

    def _copy(self) -> None:
        answer = self._last_answer()
        if answer is not None:
            QGuiApplication.clipboard().setText(answer.text)
            self._page.services.toast("Copied the last answer.")

    def _rename(self) -> None:
        self._page.show_list(shown=True)
        self._page.list.rename(self._current)

    def _delete(self) -> None:
        self._page.delete(self._current)

    def _export(self, form: ExportFormat) -> None:
        self._page.export(self._current, form)
