"""The single step that a person looks for at a file of the library: merging its parts, splitting, looking inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.formats.purpose import companion_named

if TYPE_CHECKING:
    from slmdesk.library.records import LibraryFile

LARGE = 4_000_000_000  # bytes; what sticks (FAT32) take
_NONE = ("", "", "")


def step_for(file: LibraryFile) -> tuple[str, str, str]:
    """The tool's id, the button's words and its icon; empty where there is none to offer."""
    if file.format == "safetensors":
        return "convert", "Convert to GGUF", "switch"
    if file.format != "gguf":
        return _NONE
    kind = companion_named(file.path.name)
    if kind == "matrix":
        return "imatrix show", "Look inside", "search"
    if kind == "adapter":
        return "adapter merge", "Merge into a model", "merge"
    if file.problem is not None or file.shipped:
        return _NONE
    if len(file.parts) > 1:
        return "join", "Merge parts", "merge"
    return ("split", "Split", "list") if file.size_bytes > LARGE else _NONE


def field_of(tool: str) -> str:
    """The field of the tool's form that such a file goes into."""
    return "adapters" if tool == "adapter merge" else "source"
