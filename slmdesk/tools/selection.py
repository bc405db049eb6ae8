"""Which tools a conversation may use, as it is kept with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.inference.wire import Wire
from slmdesk.tools.tool import BUILT_IN

if TYPE_CHECKING:
    from slmdesk.tools.tool import OfferedTool


class ToolSelection(Wire, frozen=True):
    """What a conversation may use. `names`: sources ("built-in", a server) and single tools ("server/tool"); `files`:
    those the person picked for reading, as absolute paths."""

    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def holds(self, tool: OfferedTool) -> bool:
        """Whether the tool is among them. Reading is where something is picked to be read."""
        if tool.server == BUILT_IN and tool.name == "read_file":
            return bool(self.files)
        return tool.server in self.names or tool.key in self.names

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that have to be asked."""
        found = dict.fromkeys(name.partition("/")[0] for name in self.names)
        return tuple(dict.fromkeys((*found, *((BUILT_IN,) if self.files else ()))))


NO_TOOLS = ToolSelection()
