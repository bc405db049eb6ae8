"""What a file tool will do: which files come out and how large they are, before anything is written."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.space import existing_parent
from slmdesk.inference.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.quantize.file_tools.tool_work import ToolWork


@dataclass(frozen=True, slots=True)
class OutputFile:
    path: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """`title`: of the job. `exact`: the sizes are no estimates. `facts`: what else a person may want to know, as plain
    data."""

    title: str
    files: tuple[OutputFile, ...]
    exact: bool = True
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def folder(self) -> Path:
        return self.files[0].path.parent

    def to_json(self) -> dict[str, Any]:
        """Asks the disk for its free space."""
        return {
            "title": self.title,
            "files": [{"path": str(file.path), "bytes": file.bytes} for file in self.files],
            "bytes": self.bytes,
            "exact": self.exact,
            "free_bytes": shutil.disk_usage(existing_parent(self.folder)).free,
            "warnings": list(self.warnings),
            **self.facts,
        }


class MadeFile(Wire, frozen=True):
    """A finished file that waits in the job's hidden folder for its name."""

    partial: Path
    target: Path
    sha256: str


class Made(Wire, frozen=True):
    """What a tool brought. `licence`: what its source says of its licence; `facts` go into the result and the
    sidecar. `seconds`: how long it took."""

    files: tuple[MadeFile, ...]
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    licence: str = ""
    seconds: float = 0.0


class FileTool(ABC):
    """One tool with one request. `home`: the folder for what comes out where no other was asked for."""

    @abstractmethod
    def plan(self) -> ToolPlan:
        """Blocking. Raises `SlmDeskError` for all that can be seen beforehand, but not for files that are there
        already."""

    @abstractmethod
    async def make(self, work: ToolWork, plan: ToolPlan) -> Made:
        """Write the files below `work.folder` and check them. Raises `SlmDeskError`."""


def target_file(output: str, home: Path, name: str) -> Path:
    """Where the one file goes: see `tool_requests`."""
    if not output:
        return home / name
    path = Path(output).expanduser().absolute()
    return path if path.suffix.lower() == ".gguf" else path / name


def one_of(value: str, known: tuple[str, ...], what: str) -> None:
    """Raises `SlmDeskError("type_unknown")`."""
    if value not in known:
        names = ", ".join(name for name in known if name)
        raise SlmDeskError("type_unknown", f"{value} is no {what}.", f"There are: {names}.")
