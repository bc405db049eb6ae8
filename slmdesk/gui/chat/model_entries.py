"""The models a chat can be held with, as the picker lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.gui.chat.names import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slmdesk.library.library import LibraryModel

STATE_WORDS = {
    "partial": "Partial",
    "damaged": "Damaged",
    "changed": "Changed upstream",
    "unverified": "Unverified",
}


@dataclass(frozen=True, slots=True)
class PickerEntry:
    """One file of the library. `problem` says why it cannot be loaded, else it is empty; `loaded` is "", "loading",
    "ready" or "failed"."""

    id: str
    name: str
    quant: str
    size_bytes: int
    parameters: int
    state: str = "verified"
    loaded: str = ""
    problem: str = ""
    built_in: bool = False
    starter: bool = False

    @property
    def title(self) -> str:
        return f"{self.name} {self.quant}".strip()

    @property
    def size(self) -> str:
        """ "2.5 GB"; "" where it is not known."""
        return amounts.size(self.size_bytes) if self.size_bytes > 0 else ""

    @property
    def counted(self) -> str:
        """ "135 M parameters"; "" where it is not known."""
        count = amounts.parameters(self.parameters)
        return f"{count} parameters" if count else ""

    @property
    def details(self) -> str:
        """What it is for where that is known, what is special, size and parameters, in words."""
        if self.problem:
            return self.problem
        parts = [self.size, self.counted]
        if self.built_in:
            parts[:0] = ["For questions about SLM Desk", "Built in"]
        elif self.starter:
            parts[:0] = ["For general questions", "Starter"]
        if not self.built_in and self.state in STATE_WORDS:
            parts.append(STATE_WORDS[self.state])
        return " · ".join(part for part in parts if part)


def entries_of(models: Iterable[LibraryModel], loaded: Mapping[str, str]) -> list[PickerEntry]:
    """One entry a file, those in memory first, then by name; `loaded` has the state of each loaded id."""
    entries = [
        PickerEntry(
            file.id,
            display_name(model.id, model.name),
            file.label if len(model.files) > 1 else file.quant,
            file.size_bytes,
            file.parameters,
            str(file.state),
            loaded.get(file.id) or loaded.get(model.id, "")
            if len(model.files) == 1
            else loaded.get(file.id, ""),
            file.problem.message if file.problem else "",
            model.built_in,
            file.shipped == "starter",
        )
        for model in models
        for file in model.files
    ]
    return sorted(entries, key=lambda entry: (not entry.loaded, bool(entry.problem), entry.title.casefold()))


def names_of(models: Iterable[LibraryModel], entries: Iterable[PickerEntry]) -> dict[str, str]:
    """What each file's id and each model's id is called; a model of one file is called as that file is."""
    titles = {entry.id: entry.title for entry in entries}
    for model in models:
        files = [titles[file.id] for file in model.files if file.id in titles]
        titles[model.id] = files[0] if len(files) == 1 else display_name(model.id, model.name)
    return titles


def display_name(model_id: str, name: str) -> str:
    """What a model is called on the screen."""
    return "Desk Guide" if model_id == BUILT_IN else name


def find_entry(entries: Iterable[PickerEntry], model_id: str) -> PickerEntry | None:
    """The entry that `model_id` means: the very file, or the first file of that model."""
    entries = list(entries)
    exact = next((entry for entry in entries if entry.id == model_id), None)
    return exact or next((entry for entry in entries if entry.id.partition(":")[0] == model_id), None)
