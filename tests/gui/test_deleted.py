"""What was deleted is brought back: by Ctrl+Z when its message is gone, and from the page of deleted things."""

from __future__ import annotations

import shutil
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton

from slmdesk.gui.app import Desk
from slmdesk.gui.deleted.deleted_page import DeletedPage

from .conftest import Play, until


def restorers(desk: Desk) -> list[QPushButton]:
    page = desk.window.page("deleted")
    return [
        button
        for button in page.findChildren(QPushButton)
        if button.accessibleName().startswith("Restore") and button.isVisible()
    ]


async def conversation(desk: Desk, text: str) -> int:
    chats = desk.window.application.chats
    made = await chats.create()
    turn = chats.send(made.id, text)
    await anext(turn)
    await turn.aclose()
    return int(made.id)


def test_a_conversation_comes_back_after_its_message_is_gone(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        chats = window.application.chats
        first = await conversation(desk, "About quinces")
        second = await conversation(desk, "About medlars")
        page = window.page("chat")
        for each in (first, second):
            page.controller.delete(each, "one")
            await until(lambda: window.message, "the message")
            window._toast.put_away()
        assert await chats.conversations() == []
        window.setFocus()
        for left in (1, 2):  # the latest first
            QTest.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
            await until(lambda: window.message.startswith("Undone: Deleted"), "what was undone")
            window._toast.put_away()
            listed: list[int] = []
            while len(listed) < left:
                listed = [one.id for one in await chats.conversations()]
        assert set(listed) == {first, second}
        assert not window.undo()

    play(scene)


def test_the_page_of_deleted_things_brings_conversations_and_models_back(
    play: Play, desk_guide: Path, tmp_path: Path
) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        application = window.application
        window.go_to("deleted")
        page = window.page("deleted")
        assert isinstance(page, DeletedPage)
        await until(lambda: page._stack.currentWidget() is page._empty, "the empty page")

        folder = application.paths.models / "maker" / "small"
        folder.mkdir(parents=True)
        shutil.copyfile(desk_guide, folder / "small-F16.gguf")
        application.library.forget_listing()
        files = [file for model in await application.library.models() for file in model.files]
        await application.trash.remove([file for file in files if file.id.startswith("maker/")], "small")
        deleted = await conversation(desk, "About quinces")
        await application.chats.delete(deleted)
        assert [one.id for one in await application.chats.deleted()] == [deleted]

        page.controller.refresh()
        await until(lambda: len(restorers(desk)) == 2, "both")
        for button in restorers(desk):
            button.click()
        await until(lambda: not restorers(desk), "an empty page")
        assert (folder / "small-F16.gguf").is_file()
        assert [one.id for one in await application.chats.conversations()] == [deleted]
        assert await application.chats.deleted() == []

    play(scene)
