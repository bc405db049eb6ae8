"""Which file the service answers with: the one that the asked id names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.library.library import Library
from slmdesk.serving.models import Models


@pytest.fixture
def models(paths: Paths) -> Models:
    settings = Settings(paths.settings_file, {})
    return Models(Library(paths, settings), settings)


async def test_whoever_asks_may_name_every_listed_id(models: Models, paths: Paths, desk_guide: Path) -> None:
    """A model's second file of one quant too, without the token."""
    places = [paths.models / "p" / "m" / name for name in ("a.gguf", "b.gguf", "sub/b.gguf")]
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(desk_guide, path)
    listed = {file.id: file.path for model in await models.library_models() for file in model.files}
    assert set(places) <= set(listed.values())
    for file_id, path in listed.items():
        assert (await models.find(file_id, trusted=False)).path == path
