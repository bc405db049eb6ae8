"""What the tests of quantizing share: short texts, and a small model with every kind of trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths, resources_folder
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
