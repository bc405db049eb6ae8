"""Markdown that arrives in pieces, read again only where it can still change.

Block structure is decided line by line: once a unit (a top-level block or list item) has begun on a complete line,
nothing that follows can change what stood before it. So everything before the last such unit is kept, and only the
rest is parsed again. Link references may come after their use; `finish` reads everything anew when there are any.
"""

from __future__ import annotations

import re
from dataclasses import replace

from slmdesk.gui.chat.markdown.blocks import Block, CodeBlock, Inline, TableBlock
from slmdesk.gui.chat.markdown.parse import ListContext, References, parse, parse_units

_REFERENCE = re.compile(r"^[ >\-*+\d.)]*\[[^\]\n]+\]:", re.MULTILINE)
_FENCE = re.compile(r"(`{3,})([^`\n]*)\n|(~{3,})([^\n]*)\n")
HEADER_LINES = 2
ROWS_AT_ONCE = 8
_ESCAPE = re.compile(r"[\\&]")


class StreamingMarkdown:
    """Collects text and keeps its blocks.

    After each `update`, `blocks` is what `parse` would give for the text so far, and the first `kept` of them are the
    same objects as after the update before.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._tail = ""
        self._held = ""  # a carriage return whose line feed may follow
        self._defines = False  # there are link definitions, or were while a line was not complete
        self._stable: list[Block] = []
        self._continued: ListContext | None = None
        self._fence: _OpenFence | None = None
        self._rows: tuple[tuple[Inline, ...], ...] = ()  # of the table the tail begins with, read already
        self.blocks: list[Block] = []
        self.kept = 0

    @property
    def source(self) -> str:
        """The whole text so far."""
        return "".join(self._parts)

    def append(self, text: str) -> None:
        """Take more text; nothing is parsed until `update`."""
        text = (self._held + text).replace("\r\n", "\n")
        self._held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r").replace("\r", "\n")
        self._parts.append(text)
        self._tail += text

    def update(self) -> None:
        """Read what came since the last update."""
        before = self.blocks
        if self._fence is not None and not self._fence.closed_by(self._tail):
            tail: list[Block] = [self._fence.block(self._tail)]
        else:
            tail = self._parse_tail()
        self.blocks = [*self._stable, *tail]
        self.kept = _common(before, self.blocks)

    def finish(self) -> None:
        """The text is complete."""
        if self._held:
            self.append("\n")
        self.update()
        source = self.source
        if self._defines or _REFERENCE.search(source):
            before, self.blocks = self.blocks, parse(source)
            self.kept = _common(before, self.blocks)

    def _parse_tail(self) -> list[Block]:
        self._fence = None
        # A definition of the past is not handed on: half a line may look like one. `finish` knows them all.
        references = References()
        units = parse_units(self._tail, self._continued, references)
        self._defines = self._defines or bool(references)
        if self._rows:
            units[0].blocks[0] = _with_rows(units[0].blocks[0], self._rows)
        complete = self._tail.count("\n")
        keep_from = 0
        for index, unit in enumerate(units):
            if unit.settled_line < complete:
                keep_from = index
        if keep_from:
            for unit in units[:keep_from]:
                self._stable.extend(unit.blocks)
            self._tail = _from_line(self._tail, units[keep_from].line)
            self._continued = units[keep_from].list_context
            self._rows = ()
        rest = units[keep_from:]
        if len(rest) == 1 and self._continued is None:
            self._fence = _OpenFence.of(self._tail, rest[0].blocks)
            self._keep_rows(rest[0].blocks)
        return [block for unit in rest for block in unit.blocks]

    def _keep_rows(self, blocks: list[Block]) -> None:
        """A row on a complete line stays as it is: keep it, and leave only the header before the rows to come."""
        table = blocks[0] if len(blocks) == 1 else None
        if not isinstance(table, TableBlock) or table.indent or table.quote:
            return
        lines = self._tail.split("\n")
        new = len(table.rows) - len(self._rows)
        settled = min(new, len(lines) - 1 - HEADER_LINES)
        if settled >= ROWS_AT_ONCE:
            self._rows = table.rows[: len(self._rows) + settled]
            self._tail = "\n".join(lines[:HEADER_LINES] + lines[HEADER_LINES + settled :])


def _with_rows(block: Block, rows: tuple[tuple[Inline, ...], ...]) -> Block:
    assert isinstance(block, TableBlock)
    return replace(block, rows=rows + block.rows)


class _OpenFence:
    """A top-level code block whose end has not come: more text is more code, no parser needed."""

    def __init__(self, mark: str, language: str, start: int) -> None:
        self._end = re.compile(rf"^ {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE)
        self._language = language
        self._start = start

    @classmethod
    def of(cls, text: str, blocks: list[Block]) -> _OpenFence | None:
        opening = _FENCE.match(text)
        if opening is None or len(blocks) != 1 or not isinstance(blocks[0], CodeBlock):
            return None
        mark, info = opening.group(1) or opening.group(3), opening.group(2) or opening.group(4) or ""
        if _ESCAPE.search(info):
            return None
        fence = cls(mark, " ".join(info.split()), opening.end())
        return None if fence.closed_by(text) else fence

    def closed_by(self, text: str) -> bool:
        return self._end.search(text, self._start) is not None

    def block(self, text: str) -> CodeBlock:
        code = text[self._start :]
        last = code.rfind("\n") + 1
        if not code[last:].strip(" \t"):
            code = code[:last]  # markdown-it leaves out blanks that no line break follows
        return CodeBlock(code.removesuffix("\n"), self._language)


def _from_line(text: str, line: int) -> str:
    at = 0
    for _ in range(line):
        at = text.index("\n", at) + 1
    return text[at:]


def _common(before: list[Block], after: list[Block]) -> int:
    count = 0
    for old, new in zip(before, after, strict=False):
        if old is not new and old != new:
            break
        count += 1
    return count
