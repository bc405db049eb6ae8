"""What one model keeps, on its page: shown with who says it, changed at once, forecast beside it, loaded anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton

from slmdesk.gui.app import Desk
from slmdesk.gui.chat.chat_page import ChatPage
from slmdesk.gui.chat.model_picker import ModelPicker
from slmdesk.gui.library.model_panel import ModelPanel
from slmdesk.gui.library.model_rows import ModelValueRow
from slmdesk.gui.widgets.fields import TextArea
from slmdesk.gui.widgets.values import DecimalField
from slmdesk.inference.limits import FITS
from slmdesk.inference.model_settings import NOTHING, ModelSettings
from slmdesk.library.in_force import InForce
from slmdesk.library.ollama import candidates
from tests.gui.conftest import Play, until
from tests.gui.library.test_library_page import library, press, put, shown
from tests.library.ollama_store import write_store
from tests.quantize.adapters import write_adapter

GUIDE = "slmdesk/desk-guide"


async def panel_of(desk: Desk, model_id: str) -> ModelPanel:
    page = library(desk)
    await shown(page, model_id)
    panel = page.detail.panel
    await until(lambda: panel.built and panel.isEnabled() and panel.load.verdict.isVisible(), "the forecast")
    return panel


def kept(desk: Desk, panel: ModelPanel) -> ModelSettings:
    file = panel.file
    assert file is not None
    return desk.window.application.library.kept.of(file).own


def segment(panel: ModelPanel, words: str) -> None:
    button = next(each for each in panel.load.context.findChildren(QPushButton) if each.text() == words)
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def foot(row: ModelValueRow) -> str:
    return row.foot_words


def test_a_context_is_chosen_and_the_forecast_follows(play: Play, starter: Path) -> None:
    del starter

    async def scene(desk: Desk) -> None:
        panel = await panel_of(desk, "HuggingFaceTB/SmolLM2-135M-Instruct")
        assert "8,192 tokens" in panel.load.forecast.words
        assert not panel.load.context.number.isVisible()
        assert not panel.let_go.isVisible()
        segment(panel, "Chosen")
        await until(panel.load.context.number.isVisible, "the field")
        panel.load.context.number.setValue(2048)
        await until(lambda: "2,048 tokens" in panel.load.forecast.words, "the new forecast")
        assert kept(desk, panel) == ModelSettings(context_length=2048)
        segment(panel, "As long as fits")
        await until(lambda: "8,192 tokens" in panel.load.forecast.words, "the longest")
        assert kept(desk, panel) == ModelSettings(context_length=FITS)
        panel.load.precision.edited.emit("q8_0")
        await until(lambda: kept(desk, panel).cache_type == "q8_0", "the precision")
        panel.let_go.click()
        await until(lambda: "keeps nothing" in desk.window.message, "the reset")
        assert kept(desk, panel) == NOTHING
        assert desk.window.undo()
        await until(
            lambda: kept(desk, panel) == ModelSettings(context_length=FITS, cache_type="q8_0"), "the undo"
        )

    play(scene)


def test_who_says_what_counts_is_said_and_let_go_of(play: Play, starter: Path) -> None:
    del starter

    async def scene(desk: Desk) -> None:
        panel = await panel_of(desk, "HuggingFaceTB/SmolLM2-135M-Instruct")
        assert foot(panel.answers.rows["system_prompt"]).startswith("Default: “You are a helpful")
        row = panel.answers.rows["temperature"]
        assert isinstance(row.control, DecimalField)
        assert (row.control.value(), foot(row)) == (0.2, "As its publisher recommends")
        row.control.setValue(0.5)
        await until(lambda: foot(row) == "Kept for this model", "the row")
        press(row, "Reset to 0.2")
        await until(lambda: row.control.value() == 0.2, "the publisher's")  # type: ignore[attr-defined]
        assert kept(desk, panel) == NOTHING
        stop = panel.answers.rows["stop"]
        assert not stop.isVisible()
        panel.more.click()
        assert stop.isVisible()
        assert isinstance(stop.control, TextArea)
        stop.control.setFocus()
        stop.control.setPlainText("<|end|>\n\\nUser:\na\\\\b")
        panel.more.setFocus()
        stop.control.committed.emit(stop.control.toPlainText())
        await until(lambda: kept(desk, panel).stop is not None, "the stop strings")
        assert kept(desk, panel).stop == ("<|end|>", "\nUser:", "a\\b")
        await until(lambda: stop.control.toPlainText() == "<|end|>\n\\nUser:\na\\\\b", "what was typed")  # type: ignore[attr-defined]

    play(scene)


def test_answers_at_once_staying_and_adapters_are_kept(play: Play, starter: Path, tmp_path: Path) -> None:
    lora = write_adapter(tmp_path / "poems.gguf", starter, ["blk.0.attn_q.weight"])

    async def scene(desk: Desk) -> None:
        panel = await panel_of(desk, "HuggingFaceTB/SmolLM2-135M-Instruct")
        rows = panel.load.more
        rows["parallel"].edited.emit(2)
        rows["pinned"].edited.emit(True)
        rows["idle_minutes"].edited.emit(0)
        await until(
            lambda: kept(desk, panel) == ModelSettings(parallel=2, idle_minutes=0, pinned=True), "all"
        )
        field = rows["adapters"].control
        assert isinstance(field, TextArea)
        field.setPlainText(f"{lora}@0.5\n")
        field.committed.emit(field.toPlainText())
        await until(lambda: kept(desk, panel).adapters == (f"{lora}@0.5",), "the adapter")
        await until(lambda: field.toPlainText() == f"{lora}@0.5", "what is kept")
        # One that is not there is not taken: what is kept is shown again.
        field.setPlainText(str(tmp_path / "none.gguf"))
        field.committed.emit(field.toPlainText())
        await until(lambda: field.toPlainText() == f"{lora}@0.5", "what is kept, again")
        assert kept(desk, panel).adapters == (f"{lora}@0.5",)
        rows["pinned"].reset.emit()
        await until(lambda: kept(desk, panel).pinned is None, "the reset")

    play(scene)


def test_a_loaded_model_is_loaded_anew_and_its_conversation_stays(with_jobs: Play) -> None:
    async def scene(desk: Desk) -> None:
        panel = await panel_of(desk, GUIDE)
        app = desk.window.application
        page = library(desk)
        press(page.detail, "Load")
        loaded = desk.window.loaded
        await until(lambda: (one := loaded.get(GUIDE + ":F16")) and one.state == "ready", "the load")
        first = loaded.get(GUIDE + ":F16")
        assert first is not None
        assert not panel.load.load_anew.isVisible()
        panel.load.show_loaded(replace(first, outdated=True, active=1))
        assert panel.load.load_anew.isVisible()
        assert not panel.load.load_anew.isEnabled()  # no answer is ended by it
        panel.load.show_loaded(first)
        conversation = await app.chats.create(GUIDE)
        async for _ in app.chats.send(conversation.id, "What is Q4_K_M?"):
            pass
        segment(panel, "Chosen")
        panel.load.context.number.setValue(1024)
        await until(
            lambda: panel.load.load_anew.isVisible() and panel.load.load_anew.isEnabled(), "the offer"
        )
        panel.load.load_anew.click()
        await until(
            lambda: (one := loaded.get(GUIDE + ":F16")) and one.context_length == 1024,
            "the model with its new context",
        )
        second = loaded.get(GUIDE + ":F16")
        assert second is not None
        assert second.pid != first.pid
        await until(lambda: not panel.load.load_anew.isVisible(), "the offer to go")
        assert len((await app.chats.load(conversation.id)).path()) == 2

    with_jobs(scene)


def test_layers_on_the_gpu_are_asked_for_where_there_is_one(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        panel = await panel_of(desk, GUIDE)
        app = desk.window.application
        assert panel.file is not None
        shown_gpu = (await app.devices.now()).best is not None
        assert panel.load.layers.isVisible() == shown_gpu
        in_force = InForce.of(panel.file, app.library, app.settings)
        panel.load.show_in_force(in_force, 2048, gpu=True)
        assert panel.load.layers.isVisible()
        assert foot(panel.load.layers) == "Default: as many as fit"
        panel.load.layers.control.setValue(4)  # type: ignore[attr-defined]
        await until(lambda: kept(desk, panel).gpu_layers == 4, "the layers")

    play(scene)


def test_a_file_that_cannot_run_has_no_such_cards(play: Play, desk_guide: Path) -> None:
    async def scene(desk: Desk) -> None:
        path = put(desk, "a/one", "one-Q8_0.gguf", desk_guide)
        path.write_bytes(path.read_bytes()[:5000])
        page = library(desk)
        await shown(page, "a/one")
        assert not page.detail.panel.isVisible()
        await asyncio.sleep(0)

    play(scene)


def test_what_ollama_brought_is_shown(play: Play, desk_guide: Path, tmp_path: Path) -> None:
    params = {"temperature": 0.7, "mirostat": 1, "num_ctx": 4096}
    said = {"params": params, "system": "Be a pirate.", "template": "{{ .Prompt }}"}
    write_store(tmp_path / "o", desk_guide, said)

    async def scene(desk: Desk) -> None:
        app = desk.window.application
        await app.importer.take(await asyncio.to_thread(candidates, tmp_path / "o"))
        panel = await panel_of(desk, "ollama/pirate")
        assert foot(panel.answers.rows["temperature"]) == "As Ollama runs it"
        assert foot(panel.answers.rows["system_prompt"]) == "As Ollama runs it"
        assert "chat template" in panel.brought.text()
        assert "Not used here: mirostat." in panel.brought.text()
        assert panel.load.context.number.value() == 4096
        segment(panel, "Usual")
        await until(lambda: kept(desk, panel).context_length == 0, "the model's own context")
        await until(lambda: "2,048 tokens" in panel.load.forecast.words, "its forecast")

    play(scene)


def test_the_chats_list_of_models_leads_to_what_its_model_keeps(play: Play, starter: Path) -> None:
    del starter

    async def scene(desk: Desk) -> None:
        desk.window.go_to("chat")
        chat = desk.window.page("chat")
        assert isinstance(chat, ChatPage)
        await until(lambda: chat.controller and chat.controller.model_entry, "the models")
        chat.choose_model()
        picker = desk.window.findChild(ModelPicker)
        assert picker is not None
        press(picker, "How it is loaded")
        assert not picker.isVisible()
        page = library(desk)
        panel = page.detail.panel
        await until(
            lambda: panel.file and panel.file.id == "HuggingFaceTB/SmolLM2-135M-Instruct:Q4_1", "its page"
        )
        await until(lambda: panel.built and panel.load.context.switch.isVisible(), "the card")

    play(scene)
