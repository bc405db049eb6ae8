"""The models that come with the program: Desk Guide, and the starter where an installation has it.

They lie outside the models folders and are used there. The starter is checked once: its SHA-256 is known, and what
was found is remembered with the file's size and time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.library import scan
from slmdesk.library.records import FileState, LibraryFile, LibraryModel
from slmdesk.library.sidecar import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slmdesk.core.paths import Paths
    from slmdesk.library.index import Index

BUILT_IN = "slmdesk/desk-guide"
BUILT_IN_NAME = "Desk Guide"
STARTER = "HuggingFaceTB/SmolLM2-135M-Instruct"
STARTER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
STARTER_INSTRUCTIONS = "You are a helpful assistant. Answer questions with facts."
"""What a chat with the starter begins with unless a person chose instructions. With the words its own template puts
there, its Q4_1 begins an answer to "What is the capital of France?" with "L" (p = 0.16) before "The" (0.12) and goes
on in bad French; with these "The" has 0.69 and nothing else more than 0.08."""

_log = logging.getLogger(__name__)


class Shipped:
    """Looks at what came with the program. Safe with several threads."""

    def __init__(self, paths: Paths, index: Index) -> None:
        self._paths = paths
        self._index = index
        self._guide_state: tuple[tuple[int, int], FileState] | None = None
        self._memory = paths.data / "starter.json"

    def guide(self) -> LibraryModel | None:
        """Desk Guide; None when its file is not where it should be."""
        path = self._paths.builtin_model
        try:
            facts = self._index.facts(path, whole=True)
        except OSError:
            return None
        made = scan.make_file([scan.Item(path.name, path, facts)])
        if made.problem is None:
            made = replace(made, state=self._guide_checked(path, (facts.size, facts.time_ns)))
        made = replace(made, shipped="guide")
        publisher = BUILT_IN.partition("/")[0]
        return LibraryModel(BUILT_IN, BUILT_IN_NAME, publisher, tuple(scan.with_ids(BUILT_IN, [made])), True)

    def starter(self) -> LibraryFile | None:
        """The starter's file, as it is known to be; None where an installation has none. Blocking, and quick:
        a file that was not checked yet is "unverified" until `check_starter`."""
        path = self._paths.starter_model
        if path is None:
            return None
        try:
            facts = self._index.facts(path, whole=True)
        except OSError:
            return None
        known = self._remembered(path, facts.size, facts.time_ns) or {}
        state: FileState = "unverified"
        if known:
            state = "verified" if known.get("sha256") == STARTER_SHA256 else "damaged"
        checked = known.get("checked_at")
        origin = Origin(
            state=state,
            size=facts.size,
            sha256=STARTER_SHA256,
            source="program",
            checked_at=float(checked) if isinstance(checked, int | float) else 0.0,
            modified_ns=facts.time_ns,
        )
        made = scan.make_file([scan.Item(path.name, path, facts, origin)], model_id=STARTER)  # its id: …:Q4_1
        return replace(made, shipped="starter")

    def check_starter(self) -> bool:
        """Hash the starter unless that was done; True when something new is known now. Blocking (98 MB)."""
        path = self._paths.starter_model
        if path is None:
            return False
        try:
            before = path.stat()
            if self._remembered(path, before.st_size, before.st_mtime_ns) is not None:
                return False
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = path.stat()
        except OSError as error:
            _log.warning("the starter was not checked: %s", error)
            return False
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            return False  # being replaced just now; the next look sees the new one
        self.keep_starter(path, digest)
        return True

    def starter_usable(self) -> bool:
        """Whether there is a starter that is not known to be damaged. Quick: nothing of its content is read."""
        path = self._paths.starter_model
        if path is None:
            return False
        try:
            status = path.stat()
        except OSError:
            return False
        known = self._remembered(path, status.st_size, status.st_mtime_ns)
        return known is None or known.get("sha256") == STARTER_SHA256

    def keep_starter(self, path: Path, digest: str) -> None:
        """Remember what the starter's content was found to be."""
        try:
            status = path.stat()
            found = {
                "path": str(path),
                "size": status.st_size,
                "time_ns": status.st_mtime_ns,
                "sha256": digest,
                "checked_at": round(time.time(), 3),
            }
            atomic_write(self._memory, json.dumps(found))
        except (OSError, SlmDeskError) as error:
            _log.warning("the check of the starter was not kept: %s", error)

    def _remembered(self, path: Path, size: int, time_ns: int) -> dict[str, object] | None:
        """What an earlier check of this very file found, in this process or another."""
        try:
            known = json.loads(self._memory.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(known, dict):
            return None
        same = (known.get("path"), known.get("size"), known.get("time_ns")) == (str(path), size, time_ns)
        return known if same else None

    def _guide_checked(self, path: Path, version: tuple[int, int]) -> FileState:
        """Whether the built-in file is the one that was shipped, by the checksum beside it."""
        if self._guide_state is None or self._guide_state[0] != version:
            state: FileState = "verified" if _matches_checksum(path) else "unverified"
            self._guide_state = (version, state)
        return self._guide_state[1]


def first_instructions(model_id: str, metadata: Mapping[str, object]) -> str:
    """The system prompt that a conversation with this model begins with unless a person chose one.

    `metadata`: of the file's header, by which the starter's model is known wherever its file came from.
    """
    starter = model_id.partition(":")[0] == STARTER or _is_starters_model(metadata)
    return STARTER_INSTRUCTIONS if starter else ""


def _is_starters_model(metadata: Mapping[str, object]) -> bool:
    """Whether a header is that of SmolLM2-135M-Instruct: the base model has another template, which names nobody."""
    name = str(metadata.get("general.basename", "")).casefold()
    size = str(metadata.get("general.size_label", ""))
    return (name, size) == ("smollm2", "135M") and "SmolLM" in str(
        metadata.get("tokenizer.chat_template", "")
    )


def with_starter(models: dict[str, LibraryModel], file: LibraryFile) -> LibraryModel:
    """The starter's model: its file, then those that the person has of the same model."""
    known = models.get(STARTER)
    own = [one for one in known.files if one.path.resolve() != file.path.resolve()] if known else []
    publisher, _, name = STARTER.partition("/")
    return scan.model_with(publisher, name, [file, *own])


def _matches_checksum(path: Path) -> bool:
    try:
        lines = (path.parent / "SHA256SUMS").read_text("utf-8-sig").splitlines()
        wanted = {
            name.lstrip(" *"): digest.lower() for digest, _, name in (line.partition(" ") for line in lines)
        }
        with path.open("rb") as file:
            return wanted.get(path.name) == hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, UnicodeDecodeError):
        return False
