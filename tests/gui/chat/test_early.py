"""What a person does in the first moments, when the window is painted and the program behind it still loads."""

from __future__ import annotations

from .conftest import Desk, Play, until


def test_what_is_sent_before_the_application_is_there_is_answered_once_it_is(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        early = Desk(desk.window.theme, desk.application.paths, desk.application)
        early.composer.field.put("What is a token?")
        early.composer.field.submitted.emit()
        early.page.choose_model()  # the list opens, and is filled later
        early.window.hide()
        assert not early.controller.running
        assert await desk.application.chats.conversations() == []
        await early.start()
        await until(lambda: early.composer.text == "", "the message to be stored")
        await early.answered()
        asked, answer = early.items
        assert asked.message.text == "What is a token?"
        assert answer.message.state == "complete"
        assert not early.errors
        await early.window.shut_down()
        early.window.close_now()

    play(scene)


def test_what_is_typed_meanwhile_goes_before_the_draft_of_last_time(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.application.chats.save_draft(0, "of last time")
        for typed, shown in (("", "of last time"), ("half a thought", "half a thought")):
            early = Desk(desk.window.theme, desk.application.paths, desk.application)
            early.composer.field.put(typed)
            await early.start()
            await until(lambda early=early, shown=shown: early.composer.text == shown, "what is typed")
            await early.window.shut_down()
            early.window.close_now()

    play(scene)


def test_a_window_that_is_closed_before_the_application_came_leaves_nothing_begun(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        early = Desk(desk.window.theme, desk.application.paths, desk.application)
        early.composer.field.put("Never mind")
        early.composer.field.submitted.emit()
        early.window.visit.conversation(1)
        await early.window.shut_down()
        early.window.close_now()
        assert await desk.application.chats.conversations() == []

    play(scene)
