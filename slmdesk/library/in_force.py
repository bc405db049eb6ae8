"""Which value counts for a model, and who says so: it, the program it came from, the settings, or its publisher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.recommended import recommended_beside, recommended_sampling
from slmdesk.formats.split import read_whole
from slmdesk.inference.limits import LISTS
from slmdesk.library.shipped import first_instructions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.core.setting_table import Setting
    from slmdesk.core.settings import Settings
    from slmdesk.inference.limits import Value
    from slmdesk.library.kept import FileSettings
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile

Says = Literal["model", "brought", "settings", "publisher", "default"]


def metadata_of(file: LibraryFile) -> Mapping[str, Any]:
    """The metadata in a file's header; nothing where there is none or it cannot be read. Blocking."""
    try:
        return read_whole(file.path).metadata if file.format == "gguf" else {}
    except SlmDeskError:
        return {}


@dataclass(frozen=True, slots=True)
class InForce:
    """The values in force for one file. `recommended`: by its publisher, by the names of sampling; `instructions`:
    what conversations with it begin with where nobody chose any."""

    kept: FileSettings
    recommended: dict[str, float]
    settings: Settings
    instructions: str = ""

    @classmethod
    def of(cls, file: LibraryFile, library: Library, settings: Settings) -> InForce:
        """Blocking: reads the file's header. Nothing raises; a file that cannot be read recommends nothing."""
        metadata = metadata_of(file)
        recommended = {**recommended_sampling(metadata), **recommended_beside(file.path.parent)}
        return cls(library.kept.of(file), recommended, settings, first_instructions(file.id, metadata))

    def value(self, key: Setting) -> tuple[Value | None, Says]:
        """The value, and who says so; None where there is none (no seed, no stop strings)."""
        origin = self.kept.origin(key.key)
        if origin:
            return self.kept.effective.get(key.key), "model" if origin == "own" else "brought"
        return self.without(key)

    def without(self, key: Setting) -> tuple[Value | None, Says]:
        """The same where nothing is kept."""
        program = next(iter(key.aliases), "")
        if program and self.settings.source(program) != "default":
            return self.settings.get(program), "settings"
        if (recommended := self.recommended.get(key.key)) is not None:
            return recommended, "publisher"
        if key.key == "system_prompt":
            return self.instructions, "default"
        if key.key in {"seed", *LISTS}:
            return None, "default"
        default: Value = self.settings.get(program) if program else key.default
        return default, "default"
