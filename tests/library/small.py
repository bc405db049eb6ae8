"""Small sound models to put into folders, and short ways to the library's lists."""

from __future__ import annotations

import json
from pathlib import Path

import gguf as peer
import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.library.library import Library, LibraryFile, LibraryModel


def fresh(paths: Paths, folders: str = "") -> Library:
    return Library(paths, Settings(paths.settings_file, {"SLMDESK_LIBRARY_FOLDERS": folders}))


def make(path: Path, file_type: int | None = None, *, kind: str = "", architecture: str = "llama") -> Path:
    """A small sound GGUF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = peer.GGUFWriter(path, architecture)
    if file_type is not None:
        writer.add_file_type(file_type)
    if kind:
        writer.add_string("general.type", kind)
    writer.add_context_length(512)
    writer.add_tensor("w", np.ones((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def split(folder: Path, stem: str, parts: int) -> list[Path]:
    """A split model: the later parts name no architecture."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}-{number:05}-of-{parts:05}.gguf" for number in range(1, parts + 1)]
    for number, path in enumerate(paths):
        writer = peer.GGUFWriter(path, "llama")
        if number:
            del writer.kv_data[0]["general.architecture"]
        else:
            writer.add_file_type(15)
        writer.add_uint16("split.no", number)
        writer.add_tensor(f"blk.{number}.w", np.ones((2, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def by_id(listed: list[LibraryModel]) -> dict[str, LibraryFile]:
    return {file.id: file for model in listed for file in model.files}


def safetensors_folder(folder: Path, *, cut: bool = False) -> Path:
    """A tiny model as transformers writes it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 2048}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {}})
    data = len(header).to_bytes(8, "little") + header.encode() + bytes(20 if cut else 24)
    (folder / "model.safetensors").write_bytes(data)
    (folder / "tokenizer.json").write_text("{}")
    return folder


async def refused(library: Library, ref: str) -> SlmDeskError:
    with pytest.raises(SlmDeskError) as caught:
        await library.resolve(ref)
    return caught.value
