"""What the library calls a model: states from sidecars, folders to convert, files used where they lie."""

import json
import os
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths
from slmdesk.library import sidecar
from slmdesk.library.library import Library
from slmdesk.library.sidecar import Origin
from tests.hub.files import onnx_file
from tests.library.small import by_id, fresh, make, refused, safetensors_folder

SIDECARS = [
    ({"state": "verified"}, "verified", None),
    ({"state": "changed upstream", "licence": "MIT"}, "changed upstream", None),
    ({"state": "perfect"}, "unverified", None),
    ({"size": 10**9, "state": "verified"}, "partial", "file_size_wrong"),
    ({"size": 10, "state": "verified"}, "damaged", "file_size_wrong"),
    ({"size": "many", "state": "verified", "sha256": 5}, "verified", None),
    ("nonsense", "unverified", None),
]


@pytest.mark.parametrize(("entry", "state", "code"), SIDECARS)
async def test_states_come_from_the_sidecar(
    models: Path, library: Library, entry: object, state: str, code: str | None
) -> None:
    folder = make(models / "p" / "m" / "m.gguf", 15).parent
    (folder / "slmdesk.json").write_text(json.dumps({"files": {"m.gguf": entry}}))
    file = by_id(await library.models())["p/m:Q4_K_M"]
    assert file.state == state
    assert (file.problem.code if file.problem else None) == code
    if isinstance(entry, dict):
        assert file.licence == entry.get("licence", "")


@pytest.mark.parametrize("content", ["{", "[1]", '{"files": [1]}', '{"files": null}', "\0\0", "[" * 100_000])
async def test_damaged_sidecar_costs_nothing(models: Path, library: Library, content: str) -> None:
    folder = make(models / "p" / "m" / "m.gguf", 15).parent
    (folder / "slmdesk.json").write_text(content)
    assert by_id(await library.models())["p/m:Q4_K_M"].state == "unverified"


async def test_folders_to_convert_are_there_but_never_run(models: Path, library: Library) -> None:
    folder = safetensors_folder(models / "p" / "m")
    (models / "p" / "o" / "onnx").mkdir(parents=True)
    (models / "p" / "o" / "config.json").write_text("{}")
    (models / "p" / "o" / "onnx" / "model.onnx").write_bytes(onnx_file())
    (models / "p" / "half").mkdir()
    (models / "p" / "half" / "config.json").write_text("{}")
    (models / "p" / "half" / "model.onnx").write_bytes(onnx_file()[:500])
    safetensors_folder(models / "p" / "broken", cut=True)
    assert list(by_id(await library.models())) == ["slmdesk/desk-guide:F16"]
    files = by_id(await library.models(every_format=True))
    assert set(files) == {
        "slmdesk/desk-guide:F16",
        "p/m:safetensors",
        "p/o:onnx",
        "p/broken:safetensors",
        "p/half:onnx",
    }
    file = files["p/m:safetensors"]
    assert (file.path, file.architecture, file.parameters, file.context_length) == (folder, "llama", 6, 2048)
    assert {part.name for part in file.parts} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert file.size_bytes == sum(part.stat().st_size for part in file.parts)
    broken = files["p/broken:safetensors"].problem
    assert broken is not None
    assert broken.code == "safetensors_truncated"
    assert files["p/o:onnx"].problem is None
    half = files["p/half:onnx"].problem
    assert half is not None
    assert half.code == "onnx_truncated"
    assert (await refused(library, "p/m")).code == "model_not_runnable"
    assert (await library.resolve("p/m", every_format=True)).path == folder
    make(folder / "m-Q4_0.gguf", 2)
    library.forget_listing()
    assert (await library.resolve("p/m", every_format=True)).quant == "Q4_0"
    assert (await refused(library, "p/m:safetensors")).code == "model_not_runnable"
    assert [part.name for part in (await library.resolve("p/m:safetensors", every_format=True)).parts] == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


async def test_what_a_sidecar_remembers_elsewhere_is_used_in_place(
    models: Path, library: Library, paths: Paths, tmp_path: Path
) -> None:
    blob = make(tmp_path / "blobs" / "sha256-1234", 15)
    other = safetensors_folder(tmp_path / "hf" / "snap")
    folder = models / "ollama" / "tiny"
    sidecar.record(folder, {"tiny.gguf": Origin(path=str(blob)), "snap": Origin(path=str(other))})
    files = by_id(await library.models(every_format=True))
    file = files["ollama/tiny:Q4_K_M"]
    assert (file.path, file.name, file.in_place, file.problem) == (blob, "tiny.gguf", True, None)
    assert files["ollama/tiny:safetensors"].path == other
    assert (await library.resolve("ollama/tiny/tiny.gguf")).path == blob
    blob.unlink()
    file = by_id(await fresh(paths).models())["ollama/tiny:Q4_K_M"]
    assert file.problem is not None
    assert (file.problem.code, file.parameters) == ("import_missing", 256)
    models.rename(tmp_path / "unplugged")
    file = by_id(await fresh(paths).models())["ollama/tiny:Q4_K_M"]
    assert file.problem is not None
    assert file.problem.code == "folder_missing"


async def test_a_file_changed_since_it_was_verified_is_not_called_verified(
    models: Path, library: Library
) -> None:
    path = make(models / "p" / "m" / "m.gguf", 15)
    time_ns = path.stat().st_mtime_ns
    sidecar.record(path.parent, {"m.gguf": Origin(state="verified", modified_ns=time_ns)})
    assert by_id(await library.models())["p/m:Q4_K_M"].state == "verified"
    os.utime(path, ns=(time_ns, time_ns + 10**10))
    assert by_id(await library.models())["p/m:Q4_K_M"].state == "unverified"


async def test_a_file_found_damaged_does_not_run(models: Path, library: Library) -> None:
    path = make(models / "p" / "m" / "m.gguf", 15)
    sidecar.record(path.parent, {"m.gguf": Origin(state="damaged")})
    file = by_id(await library.models())["p/m:Q4_K_M"]
    assert file.problem is not None
    assert (file.state, file.problem.code) == ("damaged", "hash_wrong")


async def test_the_models_sidecar_tells_of_files_in_folders_below(models: Path, library: Library) -> None:
    make(models / "p" / "m" / "deep" / "er" / "m.gguf", 15)
    sidecar.record(models / "p" / "m", {"deep/er/m.gguf": Origin(state="verified", licence="mit")})
    file = by_id(await library.models())["p/m:Q4_K_M"]
    assert (file.state, file.licence) == ("verified", "mit")
