"""Ollama's store: manifests that name blobs by their SHA-256."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.purpose import companion_named
from slmdesk.library.candidates import Candidate, SourceFile, named_apart
from slmdesk.library.names import safe_name
from slmdesk.library.ollama_words import unused_parameters

if TYPE_CHECKING:
    from pathlib import Path

_MEDIA = "application/vnd.ollama.image."
_DIGEST = re.compile(r"^sha256[:-]([0-9a-f]{64})$")
_MANIFEST_LIMIT = 1024 * 1024
_TEXT_LIMIT = 256 * 1024
_NAMES = {"model": "{}.gguf", "projector": "mmproj-{}.gguf", "adapter": "adapter-{}.gguf"}
_SAID = {
    "system": "instructions",
    "template": "template",
    "params": "parameters",
    "messages": "example messages",
}
UNUSED = "Ollama has more of it that is kept in slmdesk.json and not used here:"
"""How a note begins that names what is left out."""
_DEFAULT_HOST, _DEFAULT_SPACE, _DEFAULT_TAG = "registry.ollama.ai", "library", "latest"


def candidates(root: Path) -> list[Candidate]:
    """The models of an Ollama store (the folder with `manifests` and `blobs`).

    A model is named as Ollama names it: `qwen3:0.6b` becomes `ollama/qwen3-0.6b`, `somebody/model` keeps its
    publisher, and what Ollama pulled from the hub (`hf.co/publisher/name`) keeps both names. Raises `OSError`.
    """
    found: list[Candidate] = []
    manifests = root / "manifests"
    for path in sorted(manifests.rglob("*")):
        parts = path.relative_to(manifests).parts
        if len(parts) < 4 or path.name.startswith(".") or not path.is_file():
            continue
        found.append(_candidate(root / "blobs", path, parts))
    return found


def _candidate(blobs: Path, manifest: Path, parts: tuple[str, ...]) -> Candidate:
    host, space, name, tag = parts[0], "/".join(parts[1:-2]), parts[-2], parts[-1]
    title = _title(host, space, name, tag)
    publisher = "ollama" if (host, space) == (_DEFAULT_HOST, _DEFAULT_SPACE) else parts[-3]
    from_hub = host in {"hf.co", "huggingface.co"}
    called = name if tag == _DEFAULT_TAG or from_hub else f"{name}-{tag}"
    publisher, called = safe_name(publisher), safe_name(called)
    stem = safe_name(f"{name}-{tag}" if tag != _DEFAULT_TAG else name)
    try:
        layers = _layers(manifest)
        files = _files(blobs, layers, stem)
        settings = _settings(blobs, layers)
    except SlmDeskError as error:
        return Candidate(publisher, called, (), source="ollama", title=title, problem=error)
    notes = _notes(settings, adapted=any(companion_named(file.name) == "adapter" for file in files))
    return Candidate(publisher, called, files, source="ollama", title=title, notes=notes, settings=settings)


def _title(host: str, space: str, name: str, tag: str) -> str:
    if host != _DEFAULT_HOST:
        return f"{host}/{space}/{name}:{tag}"
    return f"{name}:{tag}" if space == _DEFAULT_SPACE else f"{space}/{name}:{tag}"


def _layers(manifest: Path) -> list[dict[str, Any]]:
    try:
        with manifest.open("rb") as file:
            data = json.loads(file.read(_MANIFEST_LIMIT))
        return [layer for layer in data["layers"] if isinstance(layer, dict)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SlmDeskError(
            "manifest_damaged", f"{manifest} is no manifest of Ollama.", "Pull the model again with Ollama."
        ) from error


def _files(blobs: Path, layers: list[dict[str, Any]], stem: str) -> tuple[SourceFile, ...]:
    files: list[SourceFile] = []
    for layer in layers:
        kind = str(layer.get("mediaType", "")).removeprefix(_MEDIA)
        if kind == "tensor":
            raise SlmDeskError(
                "format_unknown",
                "Ollama keeps this model as single tensors, which only Ollama reads.",
                "Get a GGUF of it from the catalog.",
            )
        if kind not in _NAMES:
            continue
        digest = _DIGEST.match(str(layer.get("digest", "")))
        if digest is None:
            raise SlmDeskError(
                "manifest_damaged",
                "A layer of the manifest has no SHA-256.",
                "Pull the model again with Ollama.",
            )
        path, size = _blob(blobs, digest[1])
        files.append(SourceFile(path, _NAMES[kind].format(stem), size, digest[1]))
    if not any(not companion_named(file.name) for file in files):
        raise SlmDeskError(
            "model_elsewhere", "Ollama runs this model on another machine.", "There is no file to use."
        )
    return named_apart(((), file) for file in files)


def _settings(blobs: Path, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """What the store says of how to run the model, as text or JSON by the kind of layer; "" where it cannot be read."""
    found: dict[str, Any] = {}
    for layer in layers:
        kind = str(layer.get("mediaType", "")).removeprefix(_MEDIA)
        digest = _DIGEST.match(str(layer.get("digest", "")))
        if kind not in _SAID or digest is None:
            continue
        try:
            path, _ = _blob(blobs, digest[1])
            with path.open("rb") as file:
                text = file.read(_TEXT_LIMIT).decode("utf-8", "replace")
            found[kind] = json.loads(text) if kind in {"params", "messages"} else text
        except (OSError, SlmDeskError, ValueError, RecursionError):
            found[kind] = ""
    return found


def _notes(settings: dict[str, Any], *, adapted: bool) -> tuple[str, ...]:
    notes: list[str] = []
    left_out = unused_parameters(settings)
    used = [_SAID[kind] for kind in ("system", "template") if settings.get(kind)]
    params = settings.get("params")
    names = sorted(set(map(str, params)) - set(left_out)) if isinstance(params, dict) else []
    used += [f"parameters ({', '.join(names)})"] if names else []
    if used:
        notes.append(
            f"Ollama runs it with {' and '.join(filter(None, (', '.join(used[:-1]), used[-1])))} of its own. They "
            "count here too, until you choose something else for this model."
        )
    if adapted:
        notes.append("Its adapter (LoRA) is loaded with it.")
    unreadable = [word for kind, word in _SAID.items() if kind in settings and not settings[kind]]
    left_out += [_SAID["messages"]] if settings.get("messages") else []
    left_out += [f"{word} (cannot be read)" for word in unreadable]
    if left_out:
        notes.append(f"{UNUSED} {', '.join(left_out)}.")
    return tuple(notes)


def _blob(blobs: Path, digest: str) -> tuple[Path, int]:
    for name in (f"sha256-{digest}", f"sha256:{digest}"):  # older versions wrote the colon
        try:
            return blobs / name, (blobs / name).stat().st_size
        except OSError:
            continue
    raise SlmDeskError(
        "blob_missing",
        f"The blob sha256-{digest[:12]}… of this model is not there.",
        "Pull the model again with Ollama.",
    )
