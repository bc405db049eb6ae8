"""What the palette offers of the Chat place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication

from slmdesk.gui.actions import Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.chat.place import ChatPlace


class ChatCommands:
    """The actions of a Chat place; those that make no sense at a moment are not offered then."""

    def __init__(self, place: ChatPlace) -> None:
        self._place = place

    def all(self) -> list[Action]:
        """Every action by name."""
        place = self._place
        shown = self._shown
        markdown, json = self._exporter("markdown"), self._exporter("json")
        return [
            Action("chat.new", "New chat", shown(place.new_chat), "Ctrl+N", "add"),
            Action("chat.guide", "Ask about SLM Desk", shown(place.ask_guide), "F1", "built-in"),
            Action("chat.stop", "Stop the answer", self._stop, "", "stop", self._running),
            Action(
                "chat.regenerate",
                "Regenerate the last answer",
                self._again,
                "Ctrl+R",
                "refresh",
                self._answered,
            ),
            Action("chat.copy", "Copy the last answer", self._copy, "Ctrl+Shift+C", "copy", self._answered),
            Action(
                "chat.edit", "Edit the last message", shown(place.pane.edit_last), "", "edit", self._answered
            ),
            Action("chat.model", "Choose a model", shown(place.choose_model), "Ctrl+Shift+M", "model"),
            Action("chat.search", "Search conversations", shown(place.find_here), "", "search"),
            Action("chat.rename", "Rename the conversation", shown(self._rename), "", "edit", self._begun),
            Action("chat.delete", "Delete the conversation", self._delete, "", "delete", self._begun),
            Action(
                "chat.export.markdown",
                "Export the conversation as Markdown",
                markdown,
                "",
                "export",
                self._begun,
            ),
            Action("chat.export.json", "Export the conversation as JSON", json, "", "code", self._begun),
        ]

    @property
    def _current(self) -> int:
        controller = self._place.controller
        return controller.current if controller else 0

    def _begun(self) -> bool:
        return self._current != 0

    def _running(self) -> bool:
        return self._place.pane.composer.streaming

    def _answered(self) -> bool:
        return self._last_answer() is not None and not self._running()

    def _last_answer(self) -> MessageItem | None:
        answers = [item for item in self._place.pane.items if item.answer]
        return answers[-1] if answers else None

    def _shown(self, run: Callable[[], object]) -> Callable[[], None]:
        """`run` with the Chat place in front."""

        def show_and_run() -> None:
            self._place.services.go_to(self._place.id)
            run()

        return show_and_run

    def _stop(self) -> None:
        if self._place.controller is not None:
            self._place.controller.stop()

    def _again(self) -> None:
        answer = self._last_answer()
        if answer is not None and self._place.controller is not None:
            self._place.controller.regenerate(answer.id)

    def _copy(self) -> None:
        answer = self._last_answer()
        if answer is not None:
            QGuiApplication.clipboard().setText(answer.visible_text)
            self._place.services.toast("Copied the last answer.")

    def _rename(self) -> None:
        self._place.show_list(shown=True)
        self._place.list.rename(self._current)

    def _delete(self) -> None:
        self._place.delete(self._current)

    def _exporter(self, form: str) -> Callable[[], None]:
        return lambda: self._place.export(self._current, form)
