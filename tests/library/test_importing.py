"""Importing from stores as the other programs write them, and from what people have."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import sidecar, transfer
from slmdesk.library.background import Progress, ThreadProgress
from slmdesk.library.candidates import Candidate
from slmdesk.library.importing import Imported, Importer
from slmdesk.library.library import Library
from slmdesk.library.names import check_model_id, safe_name
from slmdesk.library.sources import ImportSource, source_at, standard_sources
from slmdesk.library.verify import Verifier
from tests.hub.companions import write_companions

Make = Callable[..., Path]
links = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ollama_store(root: Path, make: Make, *names: str) -> Path:
    """As Ollama writes it; `names` like registry.ollama.ai/library/qwen3/0.6b. Returns the blob."""
    made = make(root / "blobs" / "new")
    blob = made.rename(root / "blobs" / f"sha256-{sha256(made)}")
    for name in names:
        manifest = root / "manifests" / name
        manifest.parent.mkdir(parents=True, exist_ok=True)
        layers = [
            {
                "mediaType": "application/vnd.ollama.image.model",
                "digest": blob.name.replace("-", ":"),
                "size": 1,
            },
            {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64, "size": 1},
        ]
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return blob


def hugging_face_cache(root: Path, make: Make) -> Path:
    """One repo with two revisions; `main` is the older one here. Returns the file in the snapshot."""
    repo = root / "models--Qwen--Qwen3-GGUF"
    for revision in ("aaa", "bbb"):
        made = make(repo / "blobs" / "new", value=1.0 if revision == "aaa" else 2.0)
        blob = made.rename(repo / "blobs" / sha256(made))
        snapshot = repo / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (snapshot / "Qwen3-Q4_K_M.gguf").symlink_to(Path("..") / ".." / "blobs" / blob.name)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("aaa")
    return repo / "snapshots" / "aaa" / "Qwen3-Q4_K_M.gguf"


async def take(library: Library, path: Path, mode: str = "in-place", name: str = "") -> list[Imported]:
    importer = Importer(library)
    return await importer.take(await importer.find(source_at(path)), mode, name=name)  # type: ignore[arg-type]


@links
async def test_other_programs_models_are_found_and_used_where_they_lie(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    user = tmp_path / "user"
    blob = ollama_store(user / ".ollama" / "models", make, "registry.ollama.ai/library/qwen3/0.6b")
    cached = hugging_face_cache(user / ".cache" / "huggingface" / "hub", make)
    studio = make(user / ".lmstudio" / "models" / "bart" / "Foo-GGUF" / "Foo-Q8_0.gguf", 7, value=3.0)
    before = sorted(path for path in user.rglob("*"))

    sources = standard_sources({}, user, "linux")
    assert [source.kind for source in sources] == ["hf-cache", "lm-studio", "ollama"]
    importer = Importer(library)
    found = [candidate for source in sources for candidate in await importer.find(source)]
    assert [(one.id, one.title, one.inside) for one in found] == [
        ("Qwen/Qwen3-GGUF", "", ""),
        ("bart/Foo-GGUF", "", ""),
        ("ollama/qwen3-0.6b", "qwen3:0.6b", ""),
    ]
    assert importer.bytes_needed(found, "in-place") == 0
    assert [one.problem for one in await importer.take(found)] == [None] * 3

    files = {model.id: model.files[0] for model in await library.models() if not model.built_in}
    assert {name: file.path for name, file in files.items()} == {
        "Qwen/Qwen3-GGUF": cached,
        "bart/Foo-GGUF": studio,
        "ollama/qwen3-0.6b": blob,
    }
    assert all(file.in_place and file.problem is None for file in files.values())
    checks = await Verifier(library).verify(list(files.values()))
    assert {check.file_id.split(":")[0]: check.state for check in checks} == {
        "Qwen/Qwen3-GGUF": "verified",
        "bart/Foo-GGUF": "unverified",  # LM Studio keeps no hash
        "ollama/qwen3-0.6b": "verified",
    }
    assert sorted(path for path in user.rglob("*")) == before
    found = [candidate for source in sources for candidate in await importer.find(source)]
    assert all(one.inside for one in found)
    assert all(one.skipped for one in await importer.take(found))


def test_standard_places(tmp_path: Path) -> None:
    places = {
        "hub": {"HF_HUB_CACHE": str(tmp_path / "a")},
        "home": {"HF_HOME": str(tmp_path / "b")},
        "ollama": {"OLLAMA_MODELS": str(tmp_path / "c")},
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "hub").mkdir(parents=True)
    (tmp_path / "c" / "manifests").mkdir(parents=True)
    assert standard_sources(places["hub"], tmp_path, "darwin") == [ImportSource("hf-cache", tmp_path / "a")]
    assert standard_sources(places["home"], tmp_path, "win32") == [
        ImportSource("hf-cache", tmp_path / "b" / "hub")
    ]
    assert standard_sources(places["ollama"], tmp_path, "win32") == [ImportSource("ollama", tmp_path / "c")]
    chosen = tmp_path / "disk"
    chosen.mkdir()
    (tmp_path / ".lmstudio").mkdir()
    (tmp_path / ".lmstudio" / "settings.json").write_text(json.dumps({"downloadsFolder": str(chosen)}))
    assert standard_sources({}, tmp_path, "win32") == [ImportSource("lm-studio", chosen)]


async def test_ollamas_names(library: Library, make: Make, tmp_path: Path) -> None:
    ollama_store(
        tmp_path / "o",
        make,
        "registry.ollama.ai/library/phi/latest",
        "registry.ollama.ai/some/own/7b",
        "hf.co/bart/Foo-GGUF/Q4_K_M",
    )
    (tmp_path / "o" / "manifests" / "registry.ollama.ai" / "library" / "broken").mkdir()
    (tmp_path / "o" / "manifests" / "registry.ollama.ai" / "library" / "broken" / "x").write_text("{")
    found = await Importer(library).find(source_at(tmp_path / "o"))
    assert {(one.id, one.title) for one in found} == {
        ("ollama/phi", "phi:latest"),
        ("some/own-7b", "some/own:7b"),
        ("bart/Foo-GGUF", "hf.co/bart/Foo-GGUF:Q4_K_M"),
        ("ollama/broken-x", "broken:x"),
    }
    assert [one.problem.code for one in found if one.problem] == ["manifest_damaged"]


async def test_copy_keeps_the_original_and_takes_the_hash(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    source = make(tmp_path / "mine" / "Small-Q4_K_M.gguf")
    (one,) = await take(library, source, "copy", "me/small")
    assert (one.id, one.problem, one.written) == ("me/small", None, source.stat().st_size)
    target = models / "me" / "small" / "Small-Q4_K_M.gguf"
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == source.stat().st_mtime_ns
    entry = sidecar.read(target.parent)["Small-Q4_K_M.gguf"]
    assert (entry.sha256, entry.published, entry.state) == (sha256(source), False, "unverified")
    assert sorted(path.name for path in target.parent.iterdir()) == ["Small-Q4_K_M.gguf", "slmdesk.json"]


async def test_copy_of_a_damaged_blob_leaves_nothing(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    blob = ollama_store(tmp_path / "o", make, "registry.ollama.ai/library/phi/latest")
    blob.write_bytes(blob.read_bytes()[:-1] + b"\1")
    (one,) = await take(library, tmp_path / "o", "copy")
    assert one.problem is not None
    assert one.problem.code == "hash_wrong"
    assert [path for path in models.rglob("*") if path.is_file()] == []


async def test_copy_of_what_ollama_named_is_verified(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    ollama_store(tmp_path / "o", make, "registry.ollama.ai/library/phi/latest")
    assert [one.problem for one in await take(library, tmp_path / "o", "copy")] == [None]
    assert (await library.resolve("ollama/phi")).state == "verified"


async def test_move_and_link(models: Path, library: Library, make: Make, tmp_path: Path) -> None:
    one = make(tmp_path / "x" / "a-Q4_K_M.gguf")
    content = one.read_bytes()
    assert [i.problem for i in await take(library, one, "move", "p/a")] == [None]
    assert not one.exists()
    assert (models / "p" / "a" / "a-Q4_K_M.gguf").read_bytes() == content
    two = make(tmp_path / "x" / "b-Q8_0.gguf", 7)
    assert [i.problem for i in await take(library, two, "link", "p/b")] == [None]
    assert (models / "p" / "b" / "b-Q8_0.gguf").samefile(two)
    ollama_store(tmp_path / "o", lambda path: make(path, value=5.0), "registry.ollama.ai/library/phi/latest")
    (refused,) = await take(library, tmp_path / "o", "move")
    assert refused.problem is not None
    assert refused.problem.code == "move_breaks_source"


async def test_a_move_across_disks_copies_reads_again_and_only_then_removes(
    models: Path, library: Library, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_disk(self: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, "another disk")

    source = make(tmp_path / "a-Q4_K_M.gguf")
    content = source.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", other_disk)
        assert [one.problem for one in await take(library, source, "move", "p/a")] == [None]
    assert not source.exists()
    assert (models / "p" / "a" / "a-Q4_K_M.gguf").read_bytes() == content

    again = make(tmp_path / "b-Q4_K_M.gguf")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", other_disk)
        patch.setattr(transfer, "_read_again", lambda *_: "what the disk gives is something else")
        (one,) = await take(library, again, "move", "p/b")
    assert one.problem is not None
    assert one.problem.code == "copy_wrong"
    assert again.exists()
    assert list((models / "p" / "b").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(make: Make, tmp_path: Path) -> None:
    source = make(tmp_path / "a.gguf")
    target = tmp_path / "t" / "a.gguf"
    target.parent.mkdir()
    transfer.partial_of(target).symlink_to("/dev/full")
    with pytest.raises(SlmDeskError) as caught:
        transfer.copy(source, target, ThreadProgress())
    assert caught.value.code == "disk_full"
    assert list(target.parent.iterdir()) == []
    assert source.exists()


async def test_too_little_space_is_told_before_anything_is_written(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    big = make(tmp_path / "big" / "big.gguf")
    with big.open("ab") as file:
        file.truncate(shutil.disk_usage(tmp_path).free + 10**12)
    with pytest.raises(SlmDeskError) as caught:
        await take(library, big, "copy")
    assert caught.value.code == "disk_full"
    assert list(models.iterdir()) == []


async def test_names_that_are_taken(models: Path, library: Library, make: Make, tmp_path: Path) -> None:
    make(models / "p" / "a" / "a.gguf", value=1.0)
    other = make(tmp_path / "a.gguf", value=2.0)
    for mode in ("copy", "in-place", "move", "link"):
        (one,) = await take(library, other, mode, "p/a")
        assert one.problem is not None
        assert one.problem.code == "file_exists"
    assert other.exists()
    same = make(tmp_path / "same" / "a.gguf", value=1.0)
    (one,) = await take(library, same, "copy", "p/a")
    assert (one.problem, one.skipped) == (None, True)


@pytest.mark.parametrize(
    "name", ["", "x", "../x", "a/..", "a/b/c", "a/CON", "a/b:c", "/b", "a/", "a/.h", "a/" + "x" * 300]
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(SlmDeskError) as caught:
        check_model_id(name)
    assert caught.value.code == "name_invalid"


def test_safe_names() -> None:
    assert safe_name("qwen3:0.6b") == "qwen3-0.6b"
    assert safe_name("../../etc") == "-..-etc"
    assert safe_name("nul.gguf") == "_nul.gguf"
    assert safe_name("") == "_"
    assert check_model_id(" Qwen/Qwen3-0.6B ") == ("Qwen", "Qwen3-0.6B")


async def test_stopping_a_copy_leaves_nothing_half(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    big = make(tmp_path / "big.gguf")
    with big.open("ab") as file:
        file.truncate(2_000_000_000)
    begun = asyncio.Event()

    async def progress(progress: Progress) -> None:
        if progress.done:
            begun.set()

    importer = Importer(library)
    found = await importer.find(source_at(big))
    task = asyncio.create_task(importer.take(found, "copy", on_progress=progress))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path for path in models.rglob("*") if path.is_file()] == []
    assert big.exists()


def test_a_copy_goes_on_where_it_was(make: Make, tmp_path: Path) -> None:
    source = make(tmp_path / "a.gguf")
    target = tmp_path / "t" / "a.gguf"
    target.parent.mkdir()
    content = source.read_bytes()
    transfer.partial_of(target).write_bytes(content[:1000])
    assert transfer.copy(source, target, ThreadProgress(), resume=True) == sha256(source)
    assert target.read_bytes() == content
    # What was there before may be anything: it is read again, and not believed.
    target.unlink()
    transfer.partial_of(target).write_bytes(b"x" * 1000)
    assert transfer.copy(source, target, ThreadProgress(), resume=True) == sha256(source)
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["a.gguf"]


def test_candidates_survive_json(tmp_path: Path, make: Make) -> None:
    source = make(tmp_path / "a" / "b" / "m.gguf")
    from slmdesk.library.sources import candidates

    (one,) = candidates(source_at(tmp_path))
    assert (one.id, one.files[0].path) == ("a/b", source)
    assert Candidate.from_json(json.loads(json.dumps(one.to_json()))) == one


async def test_nothing_to_import(library: Library, tmp_path: Path) -> None:
    with pytest.raises(SlmDeskError) as caught:
        source_at(tmp_path / "none")
    assert caught.value.code == "import_nothing"
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(SlmDeskError) as caught:
        await Importer(library).find(source_at(tmp_path / "x.txt"))
    assert caught.value.code == "not_gguf"
    (tmp_path / "empty").mkdir()
    assert await Importer(library).find(source_at(tmp_path / "empty")) == []


async def test_equal_names_in_two_folders_are_two_files(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    """Below one model's folder; parts of split models among them, and names that differ in capitals only."""
    places = [
        Path("one") / "m-Q4_K_M.gguf",
        Path("two") / "m-Q4_K_M.gguf",
        Path("two") / "deep" / "m-q4_k_m.gguf",
    ]
    files = [
        make(tmp_path / "from" / "p" / "m" / place, value=float(number))
        for number, place in enumerate(places)
    ]
    contents = sorted(file.read_bytes() for file in files)
    for mode in ("in-place", "copy"):
        (imported,) = await take(library, tmp_path / "from", mode)
        assert (imported.problem, len(imported.files)) == (None, 3)
        model = await library.model("p/m")
        assert sorted(file.path.read_bytes() for file in model.files) == contents
        shutil.rmtree(models / "p")
        library.forget_listing()


@links
async def test_a_quant_of_an_older_snapshot_is_found(library: Library, make: Make, tmp_path: Path) -> None:
    hugging_face_cache(tmp_path, make)
    repo = tmp_path / "models--Qwen--Qwen3-GGUF"
    made = make(repo / "blobs" / "new", 7, value=5.0)
    blob = made.rename(repo / "blobs" / sha256(made))
    (repo / "snapshots" / "bbb" / "Qwen3-Q8_0.gguf").symlink_to(Path("..") / ".." / "blobs" / blob.name)
    (candidate,) = await Importer(library).find(source_at(tmp_path))
    assert {(file.name, file.revision) for file in candidate.files} == {
        ("Qwen3-Q4_K_M.gguf", "aaa"),  # the newest of that name, by what `main` says
        ("Qwen3-Q8_0.gguf", "bbb"),
    }


async def test_files_far_below_a_models_folder_are_listed(models: Path, library: Library, make: Make) -> None:
    """As deep as a download may put them."""
    deepest = models.joinpath("p", "m", *"abcdefghijk", "m-Q4_K_M.gguf")
    make(deepest)
    make(models.joinpath("q", "m", *"abcde", "m-Q8_0.gguf"), 7)
    assert (await library.resolve("p/m:Q4_K_M")).path == deepest
    assert (await library.resolve("q/m:Q8_0")).problem is None


async def test_what_ollama_does_with_a_model_is_said_and_kept(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    """Instructions, parameters with their stop words, template and adapter: nothing goes without a word."""
    root = tmp_path / "o"
    ollama_store(root, make, "registry.ollama.ai/library/phi/latest")
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / "phi" / "latest"
    content = json.loads(manifest.read_text())
    params = {"stop": ["<|end|>"], "temperature": 0.1}
    lora = write_companions(tmp_path / "made")["guide-style-F16.gguf"].read_bytes()
    said = {"system": b"You are a pirate.", "params": json.dumps(params).encode(), "adapter": lora}
    for kind, data in said.items():
        digest = hashlib.sha256(data).hexdigest()
        (root / "blobs" / f"sha256-{digest}").write_bytes(data)
        layer = {
            "mediaType": f"application/vnd.ollama.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }
        content["layers"].append(layer)
    manifest.write_text(json.dumps(content))
    (candidate,) = await Importer(library).find(source_at(root))
    assert Candidate.from_json(json.loads(json.dumps(candidate.to_json()))).notes == candidate.notes
    (imported,) = await take(library, root)
    assert imported.problem is None
    about, adapter, left_out = imported.notes
    for word in ("instructions", "stop, temperature", "count here too"):
        assert word in about
    assert "adapter" in adapter
    assert "template (cannot be read)" in left_out  # its blob is not there
    kept = library.kept.of(await library.resolve("ollama/phi"))
    assert (kept.effective.temperature, kept.effective.stop) == (0.1, ("<|end|>",))
    assert [path.name for path in kept.adapters] == [f"sha256-{hashlib.sha256(lora).hexdigest()}"]
    (file,) = (await library.model("ollama/phi")).files
    assert (file.problem, file.origins[0].extra["ollama"]["params"]) == (None, params)
    assert file.origins[0].extra["ollama"]["system"] == "You are a pirate."
