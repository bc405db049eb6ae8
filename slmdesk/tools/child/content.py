"""What a server offers and gives, brought to what the rest of the program takes: bounded text and checked schemas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import mcp_types as types

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.schemas import check_depth
from slmdesk.tools.wire import LARGEST_TOOL, LONGEST_DESCRIPTION, MOST_TOOLS, ToolsOffered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mcp import Client

_MOST_PAGES = 64
_LONGEST_NAME = 200
_MOST_TOLD = 2 * 1024 * 1024  # characters of all schemas of a server


async def listed(client: Client) -> tuple[list[ToolsOffered], list[str]]:
    """The tools of a server, and sentences on those that are left out."""
    found: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        found += page.tools
        cursor = page.next_cursor
        if not cursor or len(found) > MOST_TOOLS:
            break
    return _checked(found)


def _checked(found: Sequence[types.Tool]) -> tuple[list[ToolsOffered], list[str]]:
    tools: dict[str, ToolsOffered] = {}
    left_out: list[str] = []
    room = _MOST_TOLD
    for tool in found[:MOST_TOOLS]:
        size = len(json.dumps(tool.input_schema))
        if why := _unfit(tool, size, room):
            left_out.append(f"The tool “{tool.name[:60]}” is left out: {why}.")
            continue
        room -= size
        hints = tool.annotations
        tools[tool.name] = ToolsOffered(
            tool.name,
            (tool.title or (hints and hints.title) or "")[:_LONGEST_NAME],
            (tool.description or "")[:LONGEST_DESCRIPTION],
            tool.input_schema,
            bool(hints and hints.read_only_hint),
        )
    if len(found) > MOST_TOOLS:
        left_out.append(f"The server has more than {MOST_TOOLS} tools; the others are left out.")
    return list(tools.values()), left_out


def _unfit(tool: types.Tool, size: int, room: int) -> str:
    if not tool.name or len(tool.name) > _LONGEST_NAME:
        return "its name cannot be used"
    try:
        check_depth(tool.input_schema)
    except SlmDeskError:
        return "its arguments are nested too deeply"
    if size > min(LARGEST_TOOL, room):
        return "the description of its arguments is too long"
    return ""


def as_text(result: types.CallToolResult) -> str:
    """A result as text for a model: what is no text is named with its kind and size."""
    texts = list(_texts(result.content))
    if not any(texts) and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(texts)


def _texts(content: Iterable[Any]) -> Iterable[str]:
    for part in content:
        match part:
            case types.TextContent(text=text):
                yield text
            case types.ImageContent(mime_type=mime, data=data):
                yield f"[a picture, {mime}, {_kilobytes(data)}; it is not shown to the model]"
            case types.AudioContent(mime_type=mime, data=data):
                yield f"[a sound, {mime}, {_kilobytes(data)}; it is not played to the model]"
            case types.ResourceLink(uri=uri, name=name):
                yield f"[{name}: {uri}]"
            case types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
                yield text
            case types.EmbeddedResource(resource=types.BlobResourceContents(uri=uri, blob=blob)):
                yield f"[{uri}, {_kilobytes(blob)}, no text]"


def _kilobytes(base64: str) -> str:
    return f"{max(len(base64) * 3 // 4 // 1000, 1)} kB"
