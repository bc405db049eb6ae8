"""What a folder of safetensors or ONNX files says about its model: its configuration and tensor lists only."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.library.index import Facts

if TYPE_CHECKING:
    from slmdesk.library.walk import Folder

_CONFIG_LIMIT = 8 * 1024 * 1024
_HEADER_LIMIT = 100 * 1024 * 1024  # safetensors' own bound


def size_and_time(folder: Folder) -> tuple[int, int]:
    """Of all files of the folder's model together."""
    return sum(seen.size for seen in folder.files), max((seen.time_ns for seen in folder.files), default=0)


def read(folder: Folder) -> Facts:
    """The facts of the model in a folder; `quant` is the format's name."""
    size, time_ns = size_and_time(folder)
    path = Path(folder.path)
    facts = Facts(size, time_ns, quant=folder.weights, format=folder.weights)
    try:
        config = _config(path)
        parameters = 0
        if folder.weights == "safetensors":
            parameters = sum(_parameters(path / name, length) for name, length in _weights(folder))
    except SlmDeskError as error:
        return facts._replace(error=error.to_json())
    except OSError as error:
        return facts._replace(
            time_ns=-1,
            error=SlmDeskError(
                "file_unreadable",
                f"{path} cannot be read: {error.strerror or error}.",
                "Check its permissions.",
            ).to_json(),
        )
    return facts._replace(
        architecture=_architecture(config),
        parameters=parameters,
        context_length=_context(config),
    )


def _weights(folder: Folder) -> list[tuple[str, int]]:
    return [(seen.name, seen.size) for seen in folder.files if seen.name.lower().endswith(".safetensors")]


def _config(path: Path) -> dict[str, Any]:
    for candidate in (path / "config.json", path.parent / "config.json"):
        try:
            with candidate.open("rb") as file:
                data = json.loads(file.read(_CONFIG_LIMIT))
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError) as error:
            raise SlmDeskError(
                "config_damaged",
                f"{candidate} is no valid JSON.",
                "Download the model again.",
                details=repr(error),
            ) from error
        if isinstance(data, dict):
            return data
    return {}


def _architecture(config: dict[str, Any]) -> str:
    kind = config.get("model_type")
    return kind if isinstance(kind, str) else ""


def _context(config: dict[str, Any]) -> int:
    inner = config.get("text_config")
    for source in (config, inner if isinstance(inner, dict) else {}):
        value = source.get("max_position_embeddings")
        if type(value) is int and value > 0:
            return value
    return 0


def _parameters(path: Path, size: int) -> int:
    """Elements of all tensors, by the header; checks that the file is as long as it says."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise _cut_off(path)
        try:
            header = json.loads(file.read(length))
            tensors = [entry for name, entry in header.items() if name != "__metadata__"]
            total = sum(math.prod(map(_whole, entry["shape"])) for entry in tensors)
            end = max((_whole(entry["data_offsets"][1]) for entry in tensors), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise SlmDeskError(
                "safetensors_damaged",
                f"{path.name} has a damaged header.",
                "Download it again.",
                details=repr(error),
            ) from error
    if 8 + length + end != size:
        raise _cut_off(path)
    return total


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(value)
    return value


def _cut_off(path: Path) -> SlmDeskError:
    return SlmDeskError(
        "safetensors_truncated",
        f"{path.name} is not as long as its header says.",
        "Download it again; an interrupted download leaves such a file.",
    )
