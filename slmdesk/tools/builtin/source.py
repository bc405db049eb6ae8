"""The built-in tools as a source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.tools.builtin.calculator import calculate
from slmdesk.tools.builtin.clock import current_time
from slmdesk.tools.builtin.picked_files import names, read_picked
from slmdesk.tools.tool import BUILT_IN, OfferedTool, ToolOutcome, text_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

CALCULATOR = OfferedTool(
    BUILT_IN,
    "calculator",
    "Calculates an arithmetic expression exactly, such as (17 * 23 + 4) / 3 or sqrt(2) ^ 3.",
    {
        "type": "object",
        "properties": {"expression": {"type": "string", "description": "The expression to calculate."}},
        "required": ["expression"],
    },
    title="Calculator",
    read_only=True,
)
CLOCK = OfferedTool(
    BUILT_IN,
    "current_time",
    "Tells the current date, weekday and time.",
    {
        "type": "object",
        "properties": {
            "timezone": {
                "type": "string",
                "description": "A time zone such as Europe/Paris. Leave it out for the person's own.",
            }
        },
    },
    title="Current time",
    read_only=True,
)
READ_FILE = OfferedTool(
    BUILT_IN,
    "read_file",
    "Reads lines of one of the text files that the person picked.",
    title="Read a picked file",
    read_only=True,
)
ALWAYS_THERE = (CALCULATOR, CLOCK, READ_FILE)


class BuiltIn:
    """The calculator, the time, and reading what a person picked. `files`: those of the conversation."""

    def __init__(self, files: Sequence[str] = ()) -> None:
        self._files = tuple(files)

    @property
    def name(self) -> str:
        return BUILT_IN

    async def tools(self) -> tuple[OfferedTool, ...]:
        """Reading is offered where there is something to read."""
        return (CALCULATOR, CLOCK, *((_reading(self._files),) if self._files else ()))

    async def call(self, tool: str, arguments: dict[str, Any], limit_s: float) -> ToolOutcome:
        """Call one. Raises `tool_unknown`, `tool_timeout`."""
        try:
            async with asyncio.timeout(limit_s):
                return ToolOutcome(await self._done(tool, arguments))
        except TimeoutError:
            raise SlmDeskError(
                "tool_timeout", f"{tool} took longer than {limit_s:g} seconds.", "Ask for less."
            ) from None
        except SlmDeskError as error:
            if error.code == "tool_unknown":
                raise
            return ToolOutcome(str(error), failed=True)

    async def close(self) -> None:
        """Nothing was started."""

    async def _done(self, tool: str, arguments: dict[str, Any]) -> str:
        match tool:
            case "calculator":
                return calculate(text_argument(arguments, "expression"))
            case "current_time":
                return current_time(text_argument(arguments, "timezone", ""))
            case "read_file":
                first = arguments.get("first_line", 1)
                line = first if isinstance(first, int) else 1
                # A disk that does not answer stops nobody else.
                return await asyncio.to_thread(
                    read_picked, self._files, text_argument(arguments, "name"), line
                )
        raise SlmDeskError("tool_unknown", f"There is no built-in tool “{tool[:60]}”.", "")


def _reading(files: Sequence[str]) -> OfferedTool:
    told = list(names(files))
    return OfferedTool(
        READ_FILE.server,
        READ_FILE.name,
        f"{READ_FILE.description} They are: {', '.join(told)}.",
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "enum": told, "description": "Which file."},
                "first_line": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "Where to begin; 1 is the first.",
                },
            },
            "required": ["name"],
        },
        title=READ_FILE.title,
        read_only=True,
    )
