"""Models that other programs, or a person, already keep on this machine."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import ollama, walk
from slmdesk.library.candidates import Candidate, SourceFile, named_apart
from slmdesk.library.names import LOCAL, model_of, split_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SourceKind = Literal["folder", "file", "hf-cache", "lm-studio", "ollama"]
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_WORDS: dict[str, str] = {
    "hf-cache": "Hugging Face cache",
    "lm-studio": "LM Studio",
    "ollama": "Ollama",
    "folder": "folder",
    "file": "file",
}


@dataclass(frozen=True, slots=True)
class ImportSource:
    """A place that holds models."""

    kind: SourceKind
    path: Path

    @property
    def title(self) -> str:
        return _WORDS[self.kind]


def standard_sources(
    environ: Mapping[str, str] | None = None, home: Path | None = None, platform: str = sys.platform
) -> list[ImportSource]:
    """Where the Hugging Face cache, LM Studio and Ollama keep models on this system; only places that are there."""
    env = os.environ if environ is None else environ
    user = Path.home() if home is None else home
    places: list[tuple[SourceKind, Path]] = [
        *(("hf-cache", path) for path in _hugging_face(env, user)),
        *(("lm-studio", path) for path in _lm_studio(user)),
        *(("ollama", path) for path in _ollama(env, user, platform)),
    ]
    return [ImportSource(kind, path) for kind, path in dict.fromkeys(places) if _is_folder(path)]


def source_at(path: Path) -> ImportSource:
    """What kind of source a path is. Raises `SlmDeskError("import_nothing")` where nothing is."""
    path = path.expanduser().absolute()
    if path.is_file():
        return ImportSource("file", path)
    if not path.is_dir():
        raise SlmDeskError("import_nothing", f"There is no {path}.", "Check the path.")
    if (path / "manifests").is_dir() and (path / "blobs").is_dir():
        return ImportSource("ollama", path)
    if (path / "models" / "manifests").is_dir():
        return ImportSource("ollama", path / "models")
    if any(_snapshots(path)) or ((path / "hub").is_dir() and any(_snapshots(path / "hub"))):
        return ImportSource("hf-cache", path if any(_snapshots(path)) else path / "hub")
    return ImportSource("folder", path)


def candidates(source: ImportSource) -> list[Candidate]:
    """The models of a source; nothing but names, sizes and manifests is read. Blocking.

    Raises `SlmDeskError("import_nothing")` when the source cannot be listed.
    """
    try:
        if source.kind == "ollama":
            return ollama.candidates(source.path)
        if source.kind == "hf-cache":
            return list(_cached(source.path))
        if source.kind == "file":
            return [_single(source.path)]
        return _of_folder(source)
    except OSError as error:
        raise SlmDeskError(
            "import_nothing",
            f"{source.path} cannot be read: {error.strerror or error}.",
            "Check its permissions.",
        ) from error


def _hugging_face(env: Mapping[str, str], home: Path) -> Iterable[Path]:
    """The order in which huggingface_hub looks, the first that is set alone counting."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if env.get(name):
            return [Path(env[name]).expanduser()]
    if env.get("HF_HOME"):
        return [Path(env["HF_HOME"]).expanduser() / "hub"]
    cache = Path(env["XDG_CACHE_HOME"]) if env.get("XDG_CACHE_HOME") else home / ".cache"
    return [cache / "huggingface" / "hub"]


def _lm_studio(home: Path) -> Iterable[Path]:
    """Its home is named by a pointer file; a folder chosen by the person stands in its settings."""
    bases = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    pointer = _text(home / ".lmstudio-home-pointer").strip()
    if pointer:
        bases.insert(0, Path(pointer))
    found: list[Path] = []
    for base in bases:
        try:
            chosen = json.loads(_text(base / "settings.json") or "{}").get("downloadsFolder")
        except (ValueError, AttributeError, RecursionError):
            chosen = None
        if isinstance(chosen, str) and chosen:
            found.append(Path(chosen))
        found.append(base / "models")
    return found


def _ollama(env: Mapping[str, str], home: Path, platform: str) -> Iterable[Path]:
    found = [Path(env["OLLAMA_MODELS"]).expanduser()] if env.get("OLLAMA_MODELS") else []
    found.append(home / ".ollama" / "models")
    if platform not in {
        "win32",
        "darwin",
    }:  # the service's own user, as its installer and distributions set it up
        found += [Path("/usr/share/ollama/.ollama/models"), Path("/var/lib/ollama/.ollama/models")]
        found += [Path("/var/lib/ollama/models"), Path("/var/lib/ollama")]
    return [path for path in found if _is_folder(path / "manifests")]


def _single(path: Path) -> Candidate:
    """One GGUF file, with the other parts when it is split."""
    if path.suffix.lower() != ".gguf":
        raise SlmDeskError(
            "not_gguf",
            f"{path.name} is no GGUF file.",
            "Import a GGUF file, or the folder of a safetensors model.",
        )
    split = split_part(path.stem)
    files = [path]
    if split is not None:
        together = (
            path.with_name(f"{split[0]}-{n:05}-of-{split[2]:05}{path.suffix}") for n in range(1, split[2] + 1)
        )
        files = [part for part in together if part.is_file()] or [path]
    publisher, name = model_of((path.name,))
    return Candidate(publisher, name, tuple(_file(file) for file in files), source="file")


def _of_folder(source: ImportSource) -> list[Candidate]:
    found: dict[tuple[str, str], list[tuple[tuple[str, ...], SourceFile]]] = {}
    folders: list[Candidate] = []
    for folder in walk.folders(source.path):
        for seen in folder.gguf:
            place = model_of((*folder.parts, seen.name))
            found.setdefault(place, []).append(
                (folder.parts[2:], _file(Path(folder.path, seen.name), seen.size))
            )
        if folder.weights:
            place = model_of((*(folder.parts or (source.path.name,)), ""))
            folders.append(_whole(folder, *place, source=source.kind))
    made = [Candidate(*place, named_apart(files), source=source.kind) for place, files in found.items()]
    return sorted([*made, *folders], key=lambda candidate: candidate.id.casefold())


def _cached(root: Path) -> Iterable[Candidate]:
    """The files of each repo in a Hugging Face cache, each from the newest snapshot that has it: a quant that was
    fetched before the repo changed lies in an older one. A file's blob is named by its SHA-256."""
    for snapshots in _snapshots(root):
        publisher, _, name = snapshots.parent.name.removeprefix("models--").partition("--")
        if not name:
            publisher, name = LOCAL, publisher
        repo = f"{publisher}/{name}"
        files: dict[tuple[str, ...], SourceFile] = {}
        folders: set[tuple[str, ...]] = set()
        for snapshot in _newest_first(snapshots):
            for folder in walk.folders(snapshot):
                for seen in folder.gguf:
                    path = Path(folder.path, seen.name)
                    files.setdefault((*folder.parts, seen.name), _blob(path, seen.size, repo, snapshot.name))
                if folder.weights and folder.parts not in folders:
                    folders.add(folder.parts)
                    yield _whole(
                        folder, publisher, name, source="hf-cache", repo=repo, revision=snapshot.name
                    )
        if files:
            listed = named_apart((parts[:-1], file) for parts, file in files.items())
            yield Candidate(publisher, name, listed, source="hf-cache")


def _snapshots(root: Path) -> Iterable[Path]:
    return (path for path in sorted(root.glob("models--*/snapshots")) if path.is_dir())


def _newest_first(snapshots: Path) -> list[Path]:
    """What `main` names, then the snapshots by when they came, the last first."""
    main = _text(snapshots.parent / "refs" / "main").strip()
    there = [path for path in snapshots.iterdir() if path.is_dir()]
    return sorted(there, key=lambda path: (path.name != main, -path.stat().st_mtime_ns))


def _blob(path: Path, size: int, repo: str, revision: str) -> SourceFile:
    name = path.resolve().name
    return SourceFile(
        path, path.name, size, name if _SHA256.match(name) else "", repo=repo, revision=revision
    )


def _whole(
    folder: walk.Folder, publisher: str, name: str, *, source: str, repo: str = "", revision: str = ""
) -> Candidate:
    path = Path(folder.path)
    files = tuple(
        _blob(path / seen.name, seen.size, repo, revision)
        if source == "hf-cache"
        else _file(path / seen.name, seen.size)
        for seen in folder.files
    )
    return Candidate(publisher, name, files, source=source, format=folder.weights, folder=path)


def _file(path: Path, size: int | None = None) -> SourceFile:
    return SourceFile(path, path.name, path.stat().st_size if size is None else size)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")[:1_000_000]
    except OSError:
        return ""


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
