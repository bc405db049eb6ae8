"""A store as Ollama writes it, with one model and what is said of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_store(
    root: Path, model: Path, said: Mapping[str, Any], name: str = "library/pirate/latest"
) -> Path:
    """`said`: by the kind of layer (`params`, `system`, `template`, `adapter`), text, bytes or what becomes JSON.

    Returns the model's blob.
    """
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    blobs: list[Path] = []
    entries = []
    for kind, content in {"model": model.read_bytes(), **said}.items():
        text = (
            content
            if isinstance(content, str)
            else json.dumps(content)
            if not isinstance(content, bytes)
            else ""
        )
        data = content if isinstance(content, bytes) else text.encode()
        digest = hashlib.sha256(data).hexdigest()
        blobs.append(root / "blobs" / f"sha256-{digest}")
        blobs[-1].write_bytes(data)
        entries.append(
            {
                "mediaType": f"application/vnd.ollama.image.{kind}",
                "digest": f"sha256:{digest}",
                "size": len(data),
            }
        )
    manifest = root / "manifests" / "registry.ollama.ai" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": entries}))
    return blobs[0]
