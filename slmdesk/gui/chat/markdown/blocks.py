"""What an answer is made of once its Markdown is read. Plain data: comparable, and free of Qt.

Containers are flattened: a paragraph inside a quoted list becomes one `TextBlock` that knows its indent, its quote
depth and the marker that stands before it. So one block is one paragraph on the screen, and two renderings are
equal exactly when their blocks are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Align: TypeAlias = Literal["left", "center", "right"]


@dataclass(frozen=True, slots=True)
class Span:
    """A run of text in one style. `text` may hold "\\n" for a line break inside its paragraph."""

    text: str
    bold: bool = False
    italic: bool = False
    strike: bool = False
    code: bool = False
    href: str = ""  # http, https or mailto; anything else is never a link


Inline: TypeAlias = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A paragraph, a heading (`level` 1-6), a rule (no spans), or a line of text that is not Markdown."""

    kind: Literal["paragraph", "heading", "rule", "line"]
    spans: Inline = ()
    level: int = 0
    indent: int = 0  # depth of the list it stands in
    quote: int = 0  # depth of the quotation it stands in
    marker: str = ""  # "•", "3." … before the first block of a list item


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Fenced or indented code. `text` ends without the last newline.

    `language` is all that stood behind the fence's marks; its first word names the language.
    """

    text: str
    language: str = ""
    indent: int = 0
    quote: int = 0


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A table; every row has as many cells as the header."""

    header: tuple[Inline, ...]
    rows: tuple[tuple[Inline, ...], ...] = ()
    align: tuple[Align, ...] = ()
    indent: int = 0
    quote: int = 0


Block: TypeAlias = TextBlock | CodeBlock | TableBlock


def plain(spans: Inline) -> str:
    """The words of an inline run without their style."""
    return "".join(span.text for span in spans)


def plain_text(blocks: tuple[Block, ...] | list[Block]) -> str:
    """All words, one block a line; what a screen reader is given."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, CodeBlock):
            lines.append(block.text)
        elif isinstance(block, TableBlock):
            lines.extend(" | ".join(plain(cell) for cell in row) for row in (block.header, *block.rows))
        else:
            lines.append(f"{block.marker} {plain(block.spans)}".strip())
    return "\n".join(lines)


def verbatim(text: str) -> list[Block]:
    """Text as it was typed: one block a line, nothing read into it."""
    return [TextBlock("line", (Span(line),) if line else ()) for line in text.split("\n")]


_SAFE = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def safe_href(href: str) -> str:
    """`href` when a browser or a mail program may be given it, else "": the text then stands alone."""
    return href if _SAFE.match(href) else ""
