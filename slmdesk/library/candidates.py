"""A model that could be imported."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import field

from slmdesk.inference.wire import Wire, converted
from slmdesk.library.names import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slmdesk.core.errors import SlmDeskError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of it: where it lies and what it is to be called; `sha256` where the source tells it."""

    path: Path
    name: str
    size: int
    sha256: str = ""
    repo: str = ""
    revision: str = ""


def named_apart(files: Iterable[tuple[Sequence[str], SourceFile]]) -> tuple[SourceFile, ...]:
    """Files of one model, with the folders below the model's that each lies in: where two would get the same name in
    the library, on any system, those folders are put in front of it."""
    listed = list(files)
    counts = Counter(_key(file.name) for _, file in listed)
    taken: set[str] = set()
    named: list[SourceFile] = []
    for folders, file in listed:
        name = "-".join((*folders, file.name)) if counts[_key(file.name)] > 1 else file.name
        if _key(name) in taken:
            mark = hashlib.sha256(str(file.path).encode("utf-8", "replace")).hexdigest()[:6]
            name = f"{mark}-{name}"  # in front: parts of a split file are known by their ends
        taken.add(_key(name))
        named.append(replace(file, name=name))
    return tuple(named)


def _key(name: str) -> str:
    return safe_name(name).casefold()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of some source, with its files. `folder` is set for a safetensors or ONNX folder.

    `inside` is set where the library has it already; `problem` says why it cannot be imported.
    """

    publisher: str
    name: str
    files: tuple[SourceFile, ...]
    source: str = ""
    format: str = "gguf"
    folder: Path | None = None
    licence: str = ""
    title: str = ""  # what the source itself calls it
    inside: str = ""
    problem: SlmDeskError | None = None
    notes: tuple[str, ...] = ()  # what its source does with it and we do not, in sentences
    settings: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )  # the source's own, kept with the file's origin

    @property
    def id(self) -> str:
        return f"{self.publisher}/{self.name}"

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """All of it, as a job's parameters keep it."""
        return {
            "id": self.id,
            "title": self.title,
            "source": self.source,
            "format": self.format,
            "folder": str(self.folder) if self.folder else "",
            "licence": self.licence,
            "size_bytes": self.size_bytes,
            "inside": self.inside,
            "files": [
                {
                    "path": str(file.path),
                    "name": file.name,
                    "size_bytes": file.size,
                    "sha256": file.sha256,
                    "repo": file.repo,
                    "revision": file.revision,
                }
                for file in self.files
            ],
            "problem": self.problem.to_json() if self.problem else None,
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, data: object) -> Candidate:
        """The reverse of `to_json`. Raises `SlmDeskError("bad_request")` that says what is wrong."""
        return cls.of(converted(data, KeptCandidate))

    @classmethod
    def of(cls, kept: KeptCandidate) -> Candidate:
        """From what a job kept of it."""
        publisher, _, name = kept.id.partition("/")
        return cls(
            publisher,
            name,
            tuple(
                SourceFile(file.path, file.name, file.size, file.sha256, file.repo, file.revision)
                for file in kept.files
            ),
            source=kept.source,
            format=kept.format,
            folder=Path(kept.folder) if kept.folder else None,
            licence=kept.licence,
            title=kept.title,
            notes=kept.notes,
            settings=kept.settings,
        )


class KeptFile(Wire, frozen=True):
    """`SourceFile` as JSON."""

    path: Path
    name: str
    size: int = field(name="size_bytes")
    sha256: str = ""
    repo: str = ""
    revision: str = ""


class KeptCandidate(Wire, frozen=True):
    """What is read back of `Candidate.to_json`. What is wrong with a candidate, and whether the library has it, is
    found anew."""

    id: str
    files: tuple[KeptFile, ...]
    title: str = ""
    source: str = ""
    format: str = "gguf"
    folder: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
