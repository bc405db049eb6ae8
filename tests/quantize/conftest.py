"""What the tests of quantizing share: short texts, and a small model with every kind of trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths, resources_folder
from slmdesk.core.settings import Settings
from slmdesk.quantize.convert import Converter
from slmdesk.toolchains.toolchains import Toolchains
from tests.quantize.tool_bench import ToolBench, tool_bench


@pytest.fixture(scope="session")
def short_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some three chunks of questions the built-in model knows, in its chat format."""
    text = (resources_folder() / "quantize" / "guide-measure.txt").read_text("utf-8")
    path = tmp_path_factory.mktemp("text") / "short.txt"
    path.write_text(text[:6500], "utf-8")
    return path


@pytest.fixture
def tools(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToolBench]:
    bench = tool_bench(paths, monkeypatch)
    yield bench
    bench.database.close()


@pytest.fixture(scope="session")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Converter:
    """With the real toolchain, made on first use below the source tree's private folder and kept there."""
    root = Path(__file__).resolve().parents[2] / ".tools" / "test-home"
    paths = Paths.resolve({"SLMDESK_HOME": str(root)})
    settings = Settings(tmp_path_factory.mktemp("settings") / "settings.toml")
    return Converter(Toolchains(paths, settings), resources_folder() / "toolchains")
