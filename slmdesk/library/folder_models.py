"""What a folder of safetensors or ONNX files says about its model: its configuration and headers only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.error_codes import FILE_GONE
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import onnx, safetensors
from slmdesk.library.index import HeaderFacts

if TYPE_CHECKING:
    from slmdesk.library.walk import Folder

_CONFIG_LIMIT = 8 * 1024 * 1024


def size_and_time(folder: Folder) -> tuple[int, int]:
    """Of all files of the folder's model together."""
    return sum(seen.size for seen in folder.files), max((seen.time_ns for seen in folder.files), default=0)


def read(folder: Folder) -> HeaderFacts:
    """The facts of the model in a folder; `quant` is the format's name."""
    size, time_ns = size_and_time(folder)
    path = Path(folder.path)
    facts = HeaderFacts(size, time_ns, quant=folder.weights, format=folder.weights)
    try:
        config = _config(path)
        parameters = sum(_checked(path / seen.name) for seen in folder.files)
    except SlmDeskError as error:
        if error.code in FILE_GONE:
            facts = facts._replace(time_ns=-1)  # may be readable the next time, without a change
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


def _checked(path: Path) -> int:
    """The numbers in a weights file, by its header; 0 where it does not tell. Raises what is wrong with it."""
    match path.suffix.lower():
        case ".safetensors":
            try:
                return safetensors.read_header(path).parameters
            except SlmDeskError as error:
                if error.code != "safetensors_type_unknown":
                    raise
        case ".onnx":
            onnx.read_header(path)
    return 0
