"""What the library knows of a model and of its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from slmdesk.engines.registry import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.formats.purpose import Purpose
    from slmdesk.inference.loading import Serves
    from slmdesk.library.sidecar import Origin

FileState = Literal["verified", "unverified", "damaged", "changed upstream", "partial"]
FILE_STATES: tuple[FileState, ...] = get_args(FileState)
FileFormat = Literal["gguf", "safetensors", "onnx"]
Shipped = Literal["", "guide", "starter"]


@dataclass(frozen=True, slots=True)
class LibraryFile:
    """One quant of a model: a file, the parts it is split into (`path` is then the first one), or a folder of
    safetensors or ONNX files (`path` is the folder, `parts` everything in it).

    `id` is `publisher/name:QUANT`, `publisher/name:NAME` (its file's name) where that is not unique, or the path of a
    file that lies in no models folder. Numbers are 0 where the header does not say. A file with a `problem` cannot run.
    `in_place`: it lies elsewhere (another program's folder) and the library only remembers where. `origins`
    are the sidecar's entries, one for each of `parts`. `home` is the model's folder in a models folder, where
    the sidecar lies; None for files outside. `shipped` ones came with the program, Desk Guide or the starter: they
    are used where they lie and never deleted, moved or merged. `purpose`: what the model does; one that does not chat
    has `model_not_chat` for a problem, and those for vectors and ranking are loaded for that.
    """

    id: str
    path: Path
    size_bytes: int
    quant: str
    architecture: str
    parameters: int
    context_length: int
    state: FileState
    problem: SlmDeskError | None = None
    parts: tuple[Path, ...] = ()
    licence: str = ""
    format: FileFormat = "gguf"
    name: str = ""
    in_place: bool = False
    origins: tuple[Origin, ...] = ()
    home: Path | None = None
    shipped: Shipped = ""
    purpose: Purpose = "chat"

    @property
    def label(self) -> str:
        """What tells it from the other files of its model, mostly its quant."""
        listed = self.home is not None or bool(self.shipped)
        return (self.id.partition(":")[2] if listed else "") or self.quant or self.format

    @property
    def serves(self) -> Serves | None:
        """What an engine with it can be asked for; None where something is wrong with the file, or it does nothing that
        is run here."""
        if self.problem is None:
            return "chat"
        if self.problem.code != "model_not_chat" or self.purpose not in {"embed", "rank"}:
            return None
        return "embed" if self.purpose == "embed" else "rank"

    @property
    def runs(self) -> bool:
        """Whether an engine loads this format; safetensors and ONNX folders are there to be converted."""
        return KINDS.runs(self.path, self.format)


@dataclass(frozen=True, slots=True)
class LibraryModel:
    """A model on these disks: `id` is `publisher/name`; `name` is what lists show. `built_in` is Desk Guide; the
    `starter` may have files of the person's own beside the one that came with the program."""

    id: str
    name: str
    publisher: str
    files: tuple[LibraryFile, ...]
    built_in: bool = False

    @property
    def starter(self) -> bool:
        return any(file.shipped == "starter" for file in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)
