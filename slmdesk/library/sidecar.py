"""`slmdesk.json` beside a model's files: where each came from, and what is known of its content."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.library.records import FILE_STATES, FileState

if TYPE_CHECKING:
    from pathlib import Path

NAME = "slmdesk.json"
_SIZE_LIMIT = 4 * 1024 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """One file's entry. "" and -1 where the entry does not say."""

    state: FileState = "unverified"
    size: int = -1
    sha256: str = ""
    repo: str = ""
    revision: str = ""
    licence: str = ""


def read(folder: Path) -> dict[str, Origin]:
    """The entries by file name. What cannot be read or understood is left out: the files are still there."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_SIZE_LIMIT))  # one cut off at the limit does not parse
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s is not used: %s", path, error)
        return {}
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict):
        return {}
    return {name: _origin(entry) for name, entry in files.items() if isinstance(entry, dict)}


def _origin(entry: dict[str, object]) -> Origin:
    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    size = entry.get("size")
    state: FileState = next((known for known in FILE_STATES if known == entry.get("state")), "unverified")
    return Origin(
        state=state,
        size=size if type(size) is int else -1,
        sha256=text("sha256").lower(),
        repo=text("repo"),
        revision=text("revision"),
        licence=text("licence"),
    )
