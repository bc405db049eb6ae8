"""A model that is still on a hub, quantized from the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from slmdesk.gui.app import Desk
from tests.gui.quantize.conftest import Act, until
from tests.gui.quantize.test_place import opened, ready
from tests.hub import LoopbackHub

pytestmark = pytest.mark.timeout(600)


def test_a_model_on_the_hub_is_named_fetched_and_quantized(
    with_jobs: Callable[[Act], None], desk_guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, bytes | Path] = {"small-F16.gguf": desk_guide, "README.md": b"# Small"}
    with LoopbackHub({"pub/small": files, "pub/quants": {"q-Q4_K_M.gguf": desk_guide}}) as hub:
        monkeypatch.setenv("SLMDESK_HUB_ENDPOINT", hub.url)

        async def scene(desk: Desk) -> None:
            place = opened(desk)
            await ready(place)
            place.source.ask_repo()
            QTest.keyClicks(place.source.repo, f"{hub.url}/pub/small/tree/main")
            QTest.keyClick(place.source.repo, Qt.Key.Key_Return)
            await until(lambda: "on the hub" in place.source.facts, "the facts of the repository")
            assert place.source.select.currentText() == "pub/small (on the hub)"
            assert hub.served("pub/small", "small-F16.gguf") == 0
            place._change({"targets": ("Q4_0",), "measure": False})
            await ready(place)
            QTest.mouseClick(place.run_card.start, Qt.MouseButton.LeftButton)
            await until(lambda: bool(place.run_card.made), "the end")
            folder = desk.window.application.paths.models / "pub" / "small"
            assert sorted(path.name for path in folder.glob("*.gguf")) == [
                "small-F16.gguf",
                "small-Q4_0.gguf",
            ]
            # From now on the library's own file is meant.
            await until(lambda: "on the hub" not in place.source.facts, "the file in the library")
            assert place.controller is not None
            assert place.controller.subject is not None
            assert place.controller.subject.source is not None

            place.choose("pub/quants")
            await until(lambda: place.source._panel is not None, "the refusal")
            assert place.source._panel is not None
            assert getattr(place.source._panel.error, "code", "") == "source_unsuitable"

        with_jobs(scene)
