"""A model that is still on a hub, quantized from the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from slmdesk.gui.app import Desk
from tests.gui.quantize.conftest import Act, until
from tests.gui.quantize.test_quantize_page import opened, ready
from tests.hub import LoopbackHub

pytestmark = pytest.mark.timeout(600)


def test_a_model_on_the_hub_is_named_fetched_and_quantized(
    with_jobs: Callable[[Act], None], desk_guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, bytes | Path] = {"small-F16.gguf": desk_guide, "README.md": b"# Small"}
    with LoopbackHub({"pub/small": files, "pub/quants": {"q-Q4_K_M.gguf": desk_guide}}) as hub:
        monkeypatch.setenv("SLMDESK_HUB_ENDPOINT", hub.url)

        async def scene(desk: Desk) -> None:
            page = opened(desk)
            await ready(page)
            page.source.ask_repo()
            QTest.keyClicks(page.source.repo, f"{hub.url}/pub/small/tree/main")
            QTest.keyClick(page.source.repo, Qt.Key.Key_Return)
            await until(lambda: "on the hub" in page.source.facts, "the facts of the repository")
            assert page.source.select.currentText() == "pub/small (on the hub)"
            assert hub.served("pub/small", "small-F16.gguf") == 0
            page._change({"targets": ("Q4_0",), "measure": False})
            await ready(page)
            QTest.mouseClick(page.run_card.start, Qt.MouseButton.LeftButton)
            await until(lambda: bool(page.run_card.made), "the end")
            folder = desk.window.application.paths.models / "pub" / "small"
            assert sorted(path.name for path in folder.glob("*.gguf")) == [
                "small-F16.gguf",
                "small-Q4_0.gguf",
            ]
            # From now on the library's own file is meant.
            await until(lambda: "on the hub" not in page.source.facts, "the file in the library")
            assert page.controller.subject is not None
            assert page.controller.subject.source is not None

            page.choose("pub/quants")
            await until(lambda: page.source._panel is not None, "the refusal")
            assert page.source._panel is not None
            assert getattr(page.source._panel.error, "code", "") == "source_unsuitable"

        with_jobs(scene)
