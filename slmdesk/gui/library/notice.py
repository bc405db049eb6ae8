"""One thing that is to be said of the library as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class LibraryNotice:
    """One line; a later one with the same `key` takes its place. `words` "" takes it away."""

    key: str
    words: str
    action: str = ""
    run: Callable[[], object] | None = None
    icon: str = "about"
    tone: str = "secondary"
