"""A model in several files is one model to the library, the engine and the forecast."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.engines.host import start_engine
from slmdesk.fitting import Fitting
from slmdesk.formats.gguf import read_header
from slmdesk.formats.split import read_whole
from slmdesk.library.library import Library
from slmdesk.library.verify import Verifier
from tests.asking import asking, spec_of
from tests.quantize.split import split_gguf


async def said(path: Path) -> str:
    engine = await start_engine(spec_of(path, "test", context_length=256))
    try:
        request = asking("1", prompt="What is Q4_K_M?", max_tokens=12, sampling={"temperature": 0})
        return "".join([part async for part in engine.ask(request) if isinstance(part, str)])
    finally:
        await engine.stop()


@pytest.mark.parametrize("metadata_first", [False, True])
async def test_a_split_model_is_one_model(paths: Paths, desk_guide: Path, metadata_first: bool) -> None:
    folder = paths.models / "p" / "parted"
    folder.mkdir(parents=True)
    parts = split_gguf(desk_guide, folder / "guide-F16", 3, metadata_first=metadata_first)
    settings = Settings(paths.settings_file, {})
    library = Library(paths, settings)
    file = await library.resolve("p/parted:F16")
    whole = read_header(desk_guide)
    assert (file.parts, file.problem, file.parameters) == (tuple(parts), None, whole.parameters)
    assert {check.state for check in await Verifier(library).verify([file])} <= {"verified", "unverified"}
    together = read_whole(parts[0])
    assert {t.name: t.nbytes for t in together.tensors} == {t.name: t.nbytes for t in whole.tensors}
    assert (together.quant, together.parameters) == (whole.quant, whole.parameters)
    fitting = Fitting(paths.data, settings, library)
    one, many = [
        (await fitting.fit(ref, context=512)).fit.forecast for ref in (str(desk_guide), "p/parted:F16")
    ]
    assert many.total_bytes == pytest.approx(one.total_bytes, rel=0.01)
    assert await said(parts[0]) == await said(desk_guide)
    parts[-1].unlink()
    with pytest.raises(SlmDeskError) as caught:
        await start_engine(spec_of(parts[0], "test"))
    assert caught.value.code == "model_parts_missing"


async def test_a_part_that_is_cut_off_is_named(tmp_path: Path, desk_guide: Path) -> None:
    parts = split_gguf(desk_guide, tmp_path / "guide-F16", 3, metadata_first=True)
    data = parts[2].read_bytes()
    parts[2].write_bytes(data[: len(data) // 2])
    with pytest.raises(SlmDeskError) as caught:
        await start_engine(spec_of(parts[0], "test"))
    assert caught.value.code == "gguf_truncated"
    assert parts[2].name in caught.value.message
