"""A file of another program is used where it lies, whatever it is called."""

from __future__ import annotations

from pathlib import Path

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.inference.answers import Stop
from slmdesk.library.importing import Importer
from slmdesk.library.library import Library
from slmdesk.library.sources import source_at
from slmdesk.serving.models import Models
from tests.asking import asking
from tests.library.ollama_store import write_store


async def test_a_model_of_ollama_answers_where_it_lies(
    paths: Paths, desk_guide: Path, tmp_path: Path
) -> None:
    blob = write_store(tmp_path / "ollama", desk_guide, {})
    settings = Settings(paths.settings_file, {})
    settings.set("engine.context_length", 512)
    library = Library(paths, settings)
    found = await Importer(library).find(source_at(tmp_path / "ollama"))
    (imported,) = await Importer(library).take(found)
    (file,) = await library.files(imported.id)
    assert file.path == blob
    assert not blob.suffix
    assert file.runs
    models = Models(library, settings)
    try:
        async with models.use(file.id, trusted=True) as held:
            *_, last = [piece async for piece in held.engine.ask(asking(prompt="Hello", max_tokens=2))]
    finally:
        await models.stop()
    assert isinstance(last, Stop)
    assert last.usage.completion_tokens == 2
