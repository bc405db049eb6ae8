"""The window with real models: one that thinks aloud, and one whose file has no chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slmdesk.gui.chat.markdown.blocks import plain_text
from slmdesk.gui.chat.notes import Told
from tests.gui.chat.conftest import Desk, until

Play = Callable[[Any], None]
QUESTION = "What is Q4_K_M?"


async def choose(desk: Desk, model: Path | str) -> None:
    desk.controller.new_chat()
    await until(lambda: not desk.items, "an empty conversation")
    desk.controller.choose_model(str(model))
    await until(lambda: desk.controller.model == str(model), "the model to be chosen")


async def put_back(desk: Desk) -> None:
    for key in ("chat.max_tokens", "chat.model", "chat.temperature"):
        desk.application.settings.reset(key)


def test_reasoning_comes_folded_and_is_gone_on_with(play: Play, thinker: Path) -> None:
    async def scene(desk: Desk) -> None:
        desk.application.settings.set("chat.max_tokens", 12)
        desk.application.settings.set("chat.temperature", 0.0)
        await choose(desk, thinker)
        await desk.ask(QUESTION)
        await desk.answered()
        message = desk.items[-1].message
        assert message.text == ""
        assert len(message.reasoning) > 10
        assert message.stats["reasoning_s"] >= 0
        view = desk.view(-1)
        assert view.thought is not None
        assert view.thought.words.startswith("Thought")
        assert not view.thought.opened
        assert view.body.blocks == []
        view.thought.toggle()
        await until(lambda: view.complete and view.thought.body.blocks, "the reasoning")  # type: ignore[union-attr]
        assert view.thought.body is not None
        first = plain_text(view.thought.body.blocks)
        assert first
        # What was cut is gone on with in place, and stays open.
        desk.controller.continue_from(desk.items[-1].id)
        await until(lambda: desk.items[-1].reasoning != message.reasoning, "more of it")
        await desk.answered()
        assert desk.items[-1].message.reasoning.startswith(message.reasoning)
        assert desk.items[-1].message.text == ""
        await until(
            lambda: plain_text(desk.view(-1).thought.body.blocks) != first,  # type: ignore[union-attr]
            "more of the reasoning",
        )
        assert plain_text(desk.view(-1).thought.body.blocks).startswith(first)  # type: ignore[union-attr]
        # The next question is asked without it: one turn more, and fewer tokens than what was thought.
        before = desk.items[-1].message.stats["usage"]
        await desk.ask(QUESTION)
        await desk.answered()
        again = desk.items[-1].message.stats["usage"]["prompt_tokens"]
        assert again < before["prompt_tokens"] + before["completion_tokens"] + 12
        await put_back(desk)

    play(scene)


@pytest.mark.slow
def test_a_model_without_a_chat_template_says_so_once(play: Play, gemma: Path) -> None:
    async def scene(desk: Desk) -> None:
        desk.application.settings.set("chat.temperature", 0.0)
        await choose(desk, gemma)
        for question in ("What is the capital of France?", "What is the capital of Italy?"):
            await desk.ask(question)
            await desk.answered()
        assert desk.items[1].message.text == "The capital of France is Paris."
        note = desk.view(1).note
        assert isinstance(note, Told)
        assert "no chat template" in note.words
        assert desk.view(3).note is None
        await put_back(desk)

    play(scene)
