"""A library of small real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf as peer
import numpy as np
import pytest

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.library.library import Library


@pytest.fixture
def models(paths: Paths) -> Path:
    paths.models.mkdir()
    return paths.models


@pytest.fixture
def library(paths: Paths) -> Library:
    return Library(paths, Settings(paths.settings_file, {}))


@pytest.fixture
def make() -> Callable[..., Path]:
    """Writes a small sound GGUF whose weights are all `value`."""

    def made(path: Path, file_type: int = 15, *, value: float = 1.0, architecture: str = "llama") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = peer.GGUFWriter(path, architecture)
        writer.add_file_type(file_type)
        writer.add_context_length(512)
        writer.add_tensor("w", np.full((64, 64), value, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return made
