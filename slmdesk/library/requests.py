"""What can be asked of the library's long work, and how a job keeps it: one type for each action."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import field

from slmdesk.inference.wire import Wire, converted
from slmdesk.library.candidates import Candidate, KeptCandidate
from slmdesk.library.duplicates import Equal
from slmdesk.library.importing import Mode


class VerifyRequest(Wire, frozen=True):
    """Check these files of the library by their hashes; without `ids`, all of them."""

    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """Take these models into the library; `name` (`publisher/name`) is for a single one."""

    candidates: tuple[Candidate, ...]
    mode: Mode = "in-place"
    name: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a job's parameters."""
        return {
            "candidates": [one.to_json() for one in self.candidates],
            "mode": self.mode,
            "name": self.name,
        }

    @classmethod
    def from_json(cls, data: object) -> ImportRequest:
        """The reverse of `to_json`. Raises `SlmDeskError("bad_request")` that says what is wrong."""
        kept = converted(data, _KeptImport)
        return cls(tuple(Candidate.of(one) for one in kept.candidates), kept.mode, kept.name)


class _KeptImport(Wire, frozen=True):
    candidates: tuple[KeptCandidate, ...]
    mode: Mode = "in-place"
    name: str = ""


class EqualRequest(Wire, frozen=True):
    """Look for files with the same content; with `merge`, make these one file with several names each."""

    merge: tuple[Equal, ...] | None = None


class EqualResult(Wire, frozen=True):
    """What came of it: `duplicates` were found, or `merged` contents gave `freed` bytes back."""

    duplicates: tuple[Equal, ...] = ()
    merged: tuple[dict[str, Any], ...] | None = None
    freed: int = field(name="freed_bytes", default=0)


class MoveRequest(Wire, frozen=True):
    """Move a whole models folder, with everything in it."""

    source: Path = field(name="from")
    target: Path = field(name="to")
