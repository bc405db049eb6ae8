"""Whether this is somebody's first start. Read before the first paint, so it imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.core.paths import Paths
    from slmdesk.core.state import StateFile

PAGE = "welcome"
"""The id of the page."""
KEY = "first_run"
"""Its key in `state.json`: "open" while the page was shown and nothing chosen, then "done"."""


def is_first_start(paths: Paths, state: StateFile) -> bool:
    """Whether the window should begin with the page.

    Without a mark it does only where nothing was kept yet: no window was ever closed, and no conversation or job
    was ever stored, from the terminal for instance. A lost `state.json` brings the page back to nobody who worked
    here. A window closed on the page shows it once more.
    """
    mark = state.get(KEY)
    if mark is not None:
        return bool(mark == "open")
    return not paths.state_file.exists() and not paths.database.exists()


def keep_open(state: StateFile) -> None:
    """The page is in sight."""
    if state.get(KEY) is None:
        state.set(KEY, "open")


def keep_done(state: StateFile) -> None:
    """The person went on from the page, whichever way."""
    state.set(KEY, "done")
