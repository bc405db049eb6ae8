"""The Catalog page with a real hub: from a search to a chat, licences and tokens, and a hub that is gone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QWidget

from slmdesk.catalog.records import CatalogEntry
from slmdesk.gui.app import Desk
from slmdesk.gui.catalog.catalog_page import CatalogPage
from slmdesk.gui.catalog.row_words import BestOffer
from slmdesk.gui.chat.chat_page import ChatPage
from slmdesk.gui.theme import MEASURE
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import TextField
from slmdesk.gui.widgets.panels import ErrorPanel
from tests.gui.conftest import REPO, TOKEN, Play, until
from tests.hub import LoopbackHub


def catalog(desk: Desk) -> CatalogPage:
    desk.window.go_to("catalog")
    page = desk.window.page("catalog")
    assert isinstance(page, CatalogPage)
    return page


def buttons(widget: QWidget, beginning: str) -> list[Button]:
    return [
        each
        for each in widget.findChildren(Button)
        if each.isVisibleTo(widget) and each.text().startswith(beginning)
    ]


def button(widget: QWidget, beginning: str) -> Button:
    found = buttons(widget, beginning)
    assert found, f"there is no button {beginning!r}"
    return found[0]


def press(widget: QWidget, beginning: str) -> None:
    QTest.mouseClick(button(widget, beginning), Qt.MouseButton.LeftButton)


async def find(page: CatalogPage, words: str, repo: str) -> None:
    """Type into the search field and wait for the model."""
    page.search.clear()
    QTest.keyClicks(page.search, words)
    await until(lambda: page.model.row_of(repo) >= 0, f"{repo} among the results")


async def judged(page: CatalogPage) -> None:
    await until(lambda: page.detail.page is not None and page.detail.page.best is not None, "the forecast")


def words_of(widget: QWidget) -> str:
    return " ".join(label.text() for label in widget.findChildren(QLabel) if label.isVisibleTo(widget))


def test_three_clicks_from_a_result_to_a_chat(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        assert QApplication.focusWidget() is page.search
        await find(page, "small-model", REPO)
        row = page.results.visualRect(page.model.index(page.model.row_of(REPO)))
        QTest.mouseClick(
            page.results.viewport(), Qt.MouseButton.LeftButton, pos=row.topLeft() + QPoint(30, 12)
        )
        await judged(page)
        chosen = page.detail.chosen
        assert chosen is not None
        assert chosen.best
        assert "= " in page.detail._forecast.words
        press(page.detail, "Download")
        await until(lambda: bool(buttons(page.detail, "Chat")), "the file to be here")
        assert page.model.state_of(page.model.entries[page.model.row_of(REPO)]) == "Here"
        press(page.detail, "Chat")
        chat = desk.window.page("chat")
        assert isinstance(chat, ChatPage)
        await until(lambda: "small-model" in chat.pane.composer.model_button.text(), "the model's name")

    with_jobs(scene)


def test_download_stands_on_the_row_too(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        await find(page, "small-model", REPO)
        row = page.results.visualRect(page.model.index(page.model.row_of(REPO)))
        target = page.results._painter.button_rect(row).center()
        QTest.mouseClick(page.results.viewport(), Qt.MouseButton.LeftButton, pos=target)
        await until(lambda: any(job.state == "done" for job in desk.window.jobs.jobs), "the download")

    with_jobs(scene)


def test_the_card_is_text_and_nothing_is_fetched_for_it(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        await find(page, "small-model", REPO)
        page.open_entry(REPO)
        await until(lambda: page.detail._card is not None and bool(page.detail._card.words), "the card")
        assert page.detail._card is not None
        assert page.detail._card.words == "Small\nA small model."
        assert "pictures are left out" in words_of(page.detail)

    with_jobs(scene)


def test_a_licence_and_a_token_are_told_apart(with_jobs: Play, hub: LoopbackHub, desk_guide: object) -> None:
    hub.add("maker/gated-GGUF", {"gated-Q8_0.gguf": desk_guide}, gated="manual")  # type: ignore[dict-item]

    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        await find(page, "gated", "maker/gated-GGUF")
        page.open_entry("maker/gated-GGUF")
        await until(lambda: page.detail.page is not None, "the page")
        await until(lambda: not page.detail._waiting.isVisible(), "the look at the files")
        press(page.detail, "Download")
        gate = page.detail._gate
        await until(gate.isVisible, "the panel")
        field = gate.findChild(TextField)
        assert isinstance(field, TextField)
        assert field.isVisible()
        assert field.echoMode() == QLineEdit.EchoMode.Password
        QTest.keyClicks(field, "hf_wrongToken00000000000000000")
        press(gate, "Save the token")
        await until(lambda: "does not know" in words_of(gate), "the refusal of a wrong token")
        field.setText("hf_wröngToken")
        press(gate, "Save the token")
        await until(lambda: "U+00F6" in words_of(gate), "the letter that no token has")
        await until(lambda: not button(gate, "Save the token").busy, "the button to be free again")
        field.clear()
        QTest.keyClicks(field, TOKEN)
        press(gate, "Save the token")
        await until(lambda: desk.window.message.startswith("The hub knows you as ada."), "the greeting")
        assert "keyring" in desk.window.message
        await until(lambda: gate.isVisible() and not field.isVisible(), "the licence to be asked for")
        assert field.text() == ""
        assert button(gate, "Open its page")

    with_jobs(scene)


def test_a_hub_that_is_gone_is_said_in_one_line(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        hub.stop()
        try:
            QTest.keyClicks(page.search, "qwen3")
            await until(page._note.isVisible, "the note")
            assert any(entry.id.startswith("Qwen/") for entry in page.model.entries), (
                "the built-in list answers"
            )
            assert not desk.window.errors_shown
        finally:
            hub.start()
        press(page, "Try again")
        await until(lambda: not page._note.isVisible(), "the note to go")

    with_jobs(scene)


def test_an_address_is_understood(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        QApplication.clipboard().setText(f"https://huggingface.co/{REPO}/blob/main/small-model-Q4_K_M.gguf")
        page.search.paste()
        await until(lambda: [entry.id for entry in page.model.entries][:1] == [REPO], "the one model")

    with_jobs(scene)


def test_filters_and_their_way_back(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        await until(lambda: len(page.model.entries) > 40, "the built-in list")
        QTest.mouseClick(page.filters.tiers["micro"], Qt.MouseButton.LeftButton)
        await until(
            lambda: bool(page.model.entries) and all(e.tier == "micro" for e in page.model.entries), "micro"
        )
        page.search.setText("no model is called like this")
        await until(page._empty.isVisible, "the empty state")
        press(page._empty, "Clear the filters")
        page.search.clear()
        await until(lambda: len(page.model.entries) > 40, "all of them again")

    with_jobs(scene)


def test_the_list_goes_on_when_its_end_is_near(with_jobs: Play, hub: LoopbackHub) -> None:
    for number in range(130):
        hub.add(f"many/found-{number:03}-1B-GGUF", {"m-Q4_K_M.gguf": b"GGUF" + bytes(100)}, downloads=number)

    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        QTest.keyClicks(page.search, "found")
        await until(lambda: len(page.model.entries) >= 50, "the first page")
        await asyncio.sleep(0.3)
        assert len(page.model.entries) < 130, "the rest is not asked for yet"
        bar = page.results.verticalScrollBar()
        for _ in range(3):
            bar.setValue(bar.maximum())
            await asyncio.sleep(0.2)
        await until(lambda: len(page.model.entries) == 130, "the last page")
        assert len({entry.id for entry in page.model.entries}) == 130

    with_jobs(scene)


def test_models_side_by_side(with_jobs: Play, hub: LoopbackHub, desk_guide: object) -> None:
    hub.add("maker/other-GGUF", {"other-Q8_0.gguf": desk_guide})  # type: ignore[dict-item]

    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        for repo in (REPO, "maker/other-GGUF"):
            await find(page, repo.rpartition("/")[2], repo)
            page.open_entry(repo)
            await judged(page)
            page.detail._compare.click()
        press(page, "Compare")
        await until(lambda: "Memory" in words_of(page), "the table")
        assert "other-GGUF" in words_of(page)
        press(page, "Back to the catalog")
        assert page.search.isVisible()

    with_jobs(scene)


def test_help_me_choose_leads_to_a_model(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        page.help_choose()
        sheet = page.advice
        assert sheet is not None
        await until(
            lambda: any(each.text() == "Show" for each in sheet.findChildren(Button)), "the short list"
        )
        assert "of memory" in words_of(sheet)
        press(sheet, "Show")
        await until(lambda: page.detail._title.text() != "", "the model")
        assert not sheet.isVisible()

    with_jobs(scene)


@pytest.mark.parametrize("wide", [True, False])
def test_the_detail_lies_over_the_list_where_there_is_no_room(
    with_jobs: Play, hub: LoopbackHub, wide: bool
) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.resize(MEASURE.narrow if wide else MEASURE.narrow - 1, 600)
        page = catalog(desk)
        await find(page, "small-model", REPO)
        assert page.panes.detail_shown is wide
        page.open_entry(REPO)
        await judged(page)
        assert page.panes.detail_shown
        if not wide:
            press(page, "Back to the list")
            assert not page.panes.detail_shown
            assert page.results.isVisible()

    with_jobs(scene)


def test_only_rows_in_sight_are_painted(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = catalog(desk)
        await asyncio.sleep(0.5)
        entries = [CatalogEntry(f"a/model-{number}-1B", 10**9, ("gguf",), "mit") for number in range(10_000)]
        painted: list[str] = []
        offer_of = page.model.offer_of

        def counting(entry: CatalogEntry) -> BestOffer:
            painted.append(entry.id)
            return offer_of(entry)

        page.model.offer_of = counting  # type: ignore[method-assign]
        page.model.show(entries)
        page.results.scrollToBottom()
        painted.clear()
        page.results.viewport().repaint()
        assert 5 < len(painted) < 30
        assert page.results.visible_entries()[-1].id == "a/model-9999-1B"

    with_jobs(scene)


def test_a_known_model_has_its_forecast_without_a_network_and_a_way_online(
    play: Play, hub: LoopbackHub
) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        await asyncio.to_thread(window.application.settings.set, "network.offline", True)
        page = catalog(desk)
        page.controller.open_repo("Qwen/Qwen3-0.6B-GGUF")
        await judged(page)
        detail = page.detail
        assert detail.page is not None
        assert detail.page.listed
        assert not detail.findChildren(ErrorPanel)
        assert "estimates from the built-in list" in words_of(detail)
        assert "Memory of" in words_of(detail)
        chosen = detail.chosen
        assert chosen is not None
        assert chosen.fit is not None
        assert chosen.fit.forecast.kv_bytes > 0
        press(detail, "Go online")
        await until(lambda: not desk.live.get("network.offline"), "the setting")
        # This hub does not know the model: that is what is said now, no more that the program is offline.
        await until(lambda: bool(detail.findChildren(ErrorPanel)), "what the hub says")

    play(scene)


def test_the_page_and_the_list_follow_the_switch_of_the_network(with_jobs: Play, hub: LoopbackHub) -> None:
    """Turned off and on by whatever means: here by the setting, as the strip and the palette do it."""

    async def scene(desk: Desk) -> None:
        settings = desk.window.application.settings
        # Before the first search: a young answer of the hub would be shown without a word.
        await asyncio.to_thread(settings.set, "network.offline", True)
        await until(lambda: bool(desk.live.get("network.offline")), "the setting")
        page = catalog(desk)
        await until(lambda: not page._note.isHidden(), "the note that nothing is asked for")
        assert buttons(page, "Go online"), "trying again would not help"
        page.controller.open_repo("Qwen/Qwen3-0.6B-GGUF")
        await judged(page)
        detail = page.detail
        assert detail.page is not None
        assert detail.page.listed
        await asyncio.to_thread(settings.set, "network.offline", False)
        await until(page._note.isHidden, "the list to be asked for anew")
        await until(lambda: bool(detail.findChildren(ErrorPanel)), "what this hub says: it has no such model")
        assert detail.page is None, "what was said without a network counts no more"
        assert not [one for one in buttons(detail, "Go online") if one.isVisible()]
        assert "works offline" not in words_of(detail)
        # A model that the hub has, opened without a network, gets its page when there is one.
        await asyncio.to_thread(settings.set, "network.offline", True)
        page.controller.open_repo(REPO)
        await until(lambda: bool(buttons(detail, "Go online")), "the way online")
        await asyncio.to_thread(settings.set, "network.offline", False)
        await judged(page)
        assert detail.page is not None
        assert not detail.page.listed
        # And one whose page is there keeps it when the network is turned off.
        await asyncio.to_thread(settings.set, "network.offline", True)
        await until(lambda: bool(desk.live.get("network.offline")), "the setting")
        assert detail.page is not None
        assert not detail.page.listed

    with_jobs(scene)


def test_an_unknown_model_offline_offers_the_way_online(play: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        await asyncio.to_thread(desk.window.application.settings.set, "network.offline", True)
        page = catalog(desk)
        page.controller.open_repo(REPO)
        await until(lambda: bool(buttons(page.detail, "Go online")), "the way online")
        press(page.detail, "Go online")
        await judged(page)
        assert not [panel for panel in page.detail.findChildren(ErrorPanel) if panel.isVisible()]

    play(scene)


def test_the_strip_says_when_the_hub_does_not_answer(play: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        strip = desk.window.strip
        page = catalog(desk)
        await find(page, "small", REPO)
        assert strip.network_words == "Online"
        hub.stop()
        page.search.clear()
        QTest.keyClicks(page.search, "another")
        await until(lambda: strip.network_words == "Hub not reached", "the strip's words")
        hub.start()
        page.search.clear()
        QTest.keyClicks(page.search, "small")
        await until(lambda: strip.network_words == "Online", "the hub to be back")

    play(scene)


def test_of_two_files_of_one_name_the_page_shows_the_one_that_is_here(
    with_jobs: Play, hub: LoopbackHub, desk_guide: Path
) -> None:
    files = {"small/model-F16.gguf": desk_guide, "large/model-F16.gguf": desk_guide}
    hub.add("pub/two-GGUF", dict(files))

    async def scene(desk: Desk) -> None:
        here = desk.window.application.paths.models / "pub" / "two-GGUF" / "small" / "model-F16.gguf"
        here.parent.mkdir(parents=True)
        shutil.copyfile(desk_guide, here)
        page = catalog(desk)
        await find(page, "two-GGUF", "pub/two-GGUF")
        page.open_entry("pub/two-GGUF")
        await until(lambda: page.detail.page is not None and len(page.detail.page.choices) == 2, "the page")
        page.find_here()
        found = page.detail.page
        assert found is not None

        def shown() -> dict[str, str]:
            return {one.files[0].path: page.controller.file_here(found.repo, one) for one in found.choices}

        await until(lambda: any(shown().values()), "what is here")
        assert shown() == {"small/model-F16.gguf": "pub/two-GGUF:F16", "large/model-F16.gguf": ""}

    with_jobs(scene)
