"""What a person wants of a model stays with its file: beside it, through renames and moves, through new downloads."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.inference.limits import FITS, find_model_setting
from slmdesk.inference.loading import ScaledAdapter
from slmdesk.inference.model_settings import NOTHING, ModelSettings
from slmdesk.library import sidecar
from slmdesk.library.importing import Importer
from slmdesk.library.in_force import InForce
from slmdesk.library.kept import KeptSettings
from slmdesk.library.library import Library
from slmdesk.library.sidecar import Origin
from slmdesk.library.sources import source_at
from slmdesk.library.trash import Trash
from tests.library.ollama_store import write_store
from tests.quantize.adapters import write_adapter

Make = Callable[..., Path]
WANTED = {"temperature": 0.3, "context_length": FITS, "stop": ["<|end|>"], "system_prompt": "Be brief."}
KEPT = ModelSettings(temperature=0.3, context_length=FITS, stop=("<|end|>",), system_prompt="Be brief.")


async def test_it_lies_beside_the_file_and_says_nothing_else_of_it(
    models: Path, library: Library, paths: Paths, make: Make
) -> None:
    path = make(models / "p" / "m" / "m-Q4_K_M.gguf")
    file = await library.resolve("p/m")
    assert library.kept.of(file).own == NOTHING
    assert library.kept.change(file, WANTED).own == KEPT
    entry = json.loads((path.parent / "slmdesk.json").read_text())["files"][path.name]
    assert entry["settings"]["temperature"] == 0.3
    again = Library(paths, Settings(paths.settings_file, {}))
    listed = await again.resolve("p/m")
    assert (again.kept.of(listed).own, listed.problem, listed.state) == (KEPT, None, "unverified")
    make(path, value=2.0)  # another file of that name is no damaged one
    os.utime(path, ns=(1, 1))
    again.forget_listing()
    assert (await again.resolve("p/m")).problem is None


async def test_it_goes_where_the_file_goes(models: Path, library: Library, make: Make) -> None:
    path = make(models / "p" / "m" / "m-Q4_K_M.gguf")
    library.kept.change(await library.resolve("p/m"), WANTED)
    renamed = path.rename(path.with_name("other-Q4_K_M.gguf"))
    library.forget_listing()
    file = await library.resolve("p/m")
    assert (file.path, library.kept.of(file).own) == (renamed, KEPT)
    library.kept.change(file, {"top_k": 7})
    assert list(sidecar.read(path.parent)) == [renamed.name]  # the old name is let go
    path.parent.rename(models / "p" / "moved")
    library.forget_listing()
    assert library.kept.of(await library.resolve("p/moved")).own == KEPT.changed({"top_k": 7})


async def test_another_file_under_a_new_name_inherits_nothing(
    models: Path, library: Library, make: Make
) -> None:
    path = make(models / "p" / "m" / "a-Q4_K_M.gguf")
    library.kept.change(await library.resolve("p/m"), WANTED)
    path.unlink()
    os.utime(make(path.with_name("b-Q4_K_M.gguf")), ns=(5, 5))
    library.forget_listing()
    assert library.kept.of(await library.resolve("p/m")).own == NOTHING


async def test_a_new_download_and_an_undone_deletion_keep_it(
    models: Path, library: Library, make: Make
) -> None:
    path = make(models / "p" / "m" / "m-Q4_K_M.gguf")
    library.kept.change(await library.resolve("p/m"), WANTED)
    sidecar.record(path.parent, {path.name: Origin("verified", size=path.stat().st_size, repo="p/m")})
    library.forget_listing()
    file = await library.resolve("p/m")
    assert (file.state, library.kept.of(file).own) == ("verified", KEPT)
    trash = Trash(library)
    removed = await trash.remove([file])
    await trash.undo(removed.key)
    assert library.kept.of(await library.resolve("p/m")).own == KEPT


async def test_values_are_taken_out_one_by_one_and_all(models: Path, library: Library, make: Make) -> None:
    make(models / "p" / "m" / "m.gguf")
    file = await library.resolve("p/m")
    library.kept.change(file, WANTED)
    assert library.kept.reset(file, ("chat.temperature",)).own.temperature is None
    assert library.kept.of(file).own.context_length == FITS
    assert library.kept.reset(file).own == NOTHING
    assert library.kept.of(file).own == NOTHING
    with pytest.raises(SlmDeskError):
        library.kept.change(file, {"top_p": 0.5, "temperature": 9})
    assert library.kept.of(file).own == NOTHING  # all or nothing


async def test_files_outside_are_known_by_path_and_when_renamed(
    library: Library, paths: Paths, make: Make, tmp_path: Path
) -> None:
    path = make(tmp_path / "elsewhere" / "x.gguf")
    library.kept.change(await library.resolve(str(path)), WANTED)
    assert list(path.parent.iterdir()) == [path]  # nothing is written into foreign folders
    assert KeptSettings(paths.data).of(await library.resolve(str(path))).own == KEPT
    renamed = path.rename(path.with_name("y.gguf"))
    file = await library.resolve(str(renamed))
    assert library.kept.of(file).own == KEPT
    library.kept.reset(file)
    assert json.loads((paths.data / "model-settings.json").read_text()) == {}


async def test_the_built_in_model_keeps_its_own_apart(library: Library, desk_guide: Path) -> None:
    before = sorted(desk_guide.parent.iterdir())
    file = await library.resolve("slmdesk/desk-guide")
    library.kept.change(file, {"temperature": 0.4})
    assert library.kept.of(file).own == ModelSettings(temperature=0.4)
    assert sorted(desk_guide.parent.iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a folder that refuses")
async def test_a_folder_that_cannot_be_written_costs_nothing(
    models: Path, library: Library, make: Make
) -> None:
    path = make(models / "p" / "m" / "m.gguf")
    file = await library.resolve("p/m")
    library.kept.change(file, {"top_k": 3})
    path.parent.chmod(0o500)
    try:
        assert library.kept.change(file, WANTED).own == KEPT.changed({"top_k": 3})
        assert library.kept.of(file).own == KEPT.changed({"top_k": 3})
        library.kept.reset(file)
        assert library.kept.of(file).own == NOTHING
    finally:
        path.parent.chmod(0o700)
    library.kept.change(file, {"top_k": 4})
    assert library.kept.of(file).own == ModelSettings(top_k=4)


async def test_a_damaged_value_costs_that_value(models: Path, library: Library, make: Make) -> None:
    path = make(models / "p" / "m" / "m.gguf")
    sidecar.record(
        path.parent,
        {path.name: Origin(extra={"settings": {"temperature": "hot", "top_k": 9, "unknown": 1}})},
    )
    assert library.kept.of(await library.resolve("p/m")).own == ModelSettings(top_k=9)


PARAMS = {
    "num_ctx": 2048,
    "num_gpu": 0,
    "num_predict": -1,
    "temperature": 0.1,
    "top_k": 7,
    "top_p": 0.8,
    "min_p": 0.01,
    "repeat_penalty": 1.2,
    "repeat_last_n": 32,
    "seed": 42,
    "stop": ["<|end|>", "\nUser:"],
    "mirostat": 2,
    "presence_penalty": 0.5,
    "frequency_penalty": 9,
    "num_thread": 4,
}


@pytest.mark.parametrize("mode", ["in-place", "copy"])
async def test_what_ollama_runs_a_model_with_counts_until_a_person_chooses(
    library: Library, models: Path, make: Make, tmp_path: Path, mode: str
) -> None:
    root = tmp_path / "o"
    said = {"params": PARAMS, "system": "You are a pirate.", "template": "{{ .Prompt }}"}
    write_store(root, make(tmp_path / "made.gguf"), said)
    importer = Importer(library)
    (imported,) = await importer.take(await importer.find(source_at(root)), mode)  # type: ignore[arg-type]
    assert imported.problem is None
    told = " ".join(imported.notes)
    for word in ("instructions", "template", "temperature", "mirostat", "num_thread", "frequency_penalty"):
        assert word in told
    file = await library.resolve("ollama/pirate")
    kept = library.kept.of(file)
    assert kept.effective == ModelSettings(
        context_length=2048,
        gpu_layers=0,
        max_tokens=0,
        temperature=0.1,
        top_k=7,
        top_p=0.8,
        min_p=0.01,
        repeat_penalty=1.2,
        penalty_last_n=32,
        seed=42,
        stop=("<|end|>", "\nUser:"),
        presence_penalty=0.5,
        system_prompt="You are a pirate.",
    )
    assert (kept.own, kept.template, kept.origin("top_k")) == (NOTHING, "{{ .Prompt }}", "Ollama")
    assert set(kept.unused) == {"mirostat", "num_thread", "frequency_penalty"}
    kept = library.kept.change(file, {"top_k": 40, "system_prompt": ""})
    assert (kept.effective.top_k, kept.effective.system_prompt, kept.effective.seed) == (40, "", 42)
    assert library.kept.reset(file).effective.system_prompt == "You are a pirate."


async def test_who_says_what_counts(models: Path, library: Library, paths: Paths, smollm2: Path) -> None:
    """The model's own, then the settings that a person made, then the publisher, then the default."""
    path = models / "HuggingFaceTB" / "SmolLM2" / "smol-Q4_1.gguf"
    path.parent.mkdir(parents=True)
    shutil.copy(smollm2, path)
    file = await library.resolve("HuggingFaceTB/SmolLM2")
    settings = Settings(paths.settings_file, {})

    def said(name: str) -> tuple[object, str]:
        return InForce.of(file, library, settings).value(find_model_setting(name))

    assert said("temperature") == (0.2, "publisher")
    assert said("top_k") == (40, "default")
    assert said("seed") == (None, "default")
    settings.set("chat.temperature", 1.0)
    assert said("temperature") == (1.0, "settings")
    library.kept.change(file, {"temperature": 0.6})
    assert said("temperature") == (0.6, "model")
    library.kept.reset(file)
    settings.reset("chat.temperature")
    (path.parent / "generation_config.json").write_text(json.dumps({"temperature": 0.7, "top_k": 20}))
    assert (said("temperature"), said("top_k")) == ((0.7, "publisher"), (20, "publisher"))


async def test_adapters_are_kept_by_their_place_and_strength_and_must_belong_to_the_model(
    models: Path, library: Library, desk_guide: Path, smollm2: Path, tmp_path: Path
) -> None:
    (models / "p" / "m").mkdir(parents=True)
    shutil.copyfile(desk_guide, models / "p" / "m" / "m-F16.gguf")
    file = await library.resolve("p/m")
    lora = write_adapter(tmp_path / "lora.gguf", desk_guide, ["blk.0.attn_q.weight"])
    library.kept.change(file, {"adapters": [f"{lora}@0.5", "", str(lora)]})
    kept = library.kept.of(file)
    assert kept.loaded_with == tuple(ScaledAdapter(str(lora), scale, needed=True) for scale in (0.5, 1.0))
    other = write_adapter(tmp_path / "other.gguf", smollm2, ["blk.0.attn_q.weight"])
    for wrong, code in (
        (other, "adapter_mismatch"),
        (desk_guide, "adapter_unsuitable"),
        (tmp_path / "none.gguf", "adapter_missing"),
        (f"{lora}@inf", "setting_invalid"),
    ):
        with pytest.raises(SlmDeskError) as refused:
            library.kept.change(file, {"adapters": [str(wrong)]})
        assert refused.value.code == code
    assert library.kept.of(file) == kept  # what was refused changed nothing
    assert library.kept.change(file, {"adapters": []}).loaded_with == ()
