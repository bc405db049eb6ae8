"""The GPUs on the settings page, and what the catalog says a graphics card takes over."""

from __future__ import annotations

import pytest

from slmdesk.core.paths import Paths
from slmdesk.formats.architecture import Architecture
from slmdesk.gui.app import Desk
from slmdesk.gui.catalog.forecast_view import gpu_words, sum_words
from slmdesk.gui.settings.device_row import DeviceRow
from slmdesk.gui.settings.settings_page import SettingsPage
from slmdesk.gui.widgets.base import Label
from slmdesk.inference.loading import Loading
from slmdesk.memory.fit import fit
from slmdesk.memory.offload import DeviceRoom
from tests.engines import gpus

from .conftest import Play, until

pytestmark = pytest.mark.usefixtures("no_real_gpu")
GB = 10**9


def _told(row: DeviceRow) -> str:
    return " ".join(label.text() for label in row.findChildren(Label) if not label.isHidden())


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("lists", ("Stand-in GPU (StandIn), 8.0 GB, 6.0 GB free",)),
        ("crashes", ("The graphics driver ended the process", "models run on the processor")),
    ],
)
def test_the_settings_list_what_models_can_use(
    mode: str, words: tuple[str, ...], play: Play, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DRIVER", mode)
    gpus.add_part(paths.backends)

    async def scene(desk: Desk) -> None:
        desk.window.go_to("settings")
        page = desk.window.page("settings")
        assert isinstance(page, SettingsPage)
        page.complete()
        row = page.findChild(DeviceRow)
        assert row is not None
        await until(lambda: "Looking" not in _told(row), "the list of GPUs")
        await until(lambda: all(word in _told(row) for word in words), f"{words} in {_told(row)!r}")
        page.filter("vulkan")
        assert row.isVisibleTo(page)
        page.filter("temperature")
        assert not row.isVisibleTo(page)
        page.filter("")
        assert not desk.window.errors_shown

    play(scene)


def test_the_catalog_says_what_the_graphics_card_takes() -> None:
    architecture = Architecture.from_config(
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        }
    )
    wishes = Loading(context_length=4096, parallel=1)
    part = fit(architecture, 7 * GB, wishes, available=8 * GB, room=DeviceRoom("GPU0", 6 * GB, 8 * GB))
    assert part.split is not None
    words = sum_words(part)
    assert f"{part.split.layers} of its 33 layers" in words
    assert "6.0 GB free there" in words
    whole = fit(architecture, 7 * GB, wishes, available=8 * GB, room=DeviceRoom("GPU0", 16 * GB, 16 * GB))
    assert whole.split is not None
    assert "takes all of it" in gpu_words(whole.split)
    assert "graphics card" not in sum_words(fit(architecture, 7 * GB, wishes, available=8 * GB))
