"""markdown-it's block tokens to `Block`s, cut into units that can be kept while the text after them streams in.

CommonMark with tables and strikethrough. HTML is off: a tag is shown as the text it is. Nothing that was written
goes unseen: a link definition counts as one only when a link uses it, and is text otherwise ("[Answer]: 42").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from slmdesk.gui.chat.markdown.blocks import (
    Align,
    Block,
    CodeBlock,
    Inline,
    Span,
    TableBlock,
    TextBlock,
    plain_text,
    safe_href,
)
from slmdesk.gui.chat.markdown.formulas import keep_backslashes
from slmdesk.gui.chat.markdown.inline import plain_spans, spans_of

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

BULLETS = ("•", "◦", "▪")
MAX_NESTING = 100  # markdown-it drops what is deeper
_MARKS = re.compile(r"[\s>\-*+\d.)]*")


@dataclass(slots=True)
class ListContext:
    """The top-level list a unit belongs to: its marker character and the number of the item."""

    mark: str
    number: int


@dataclass(slots=True)
class Unit:
    """One top-level block, or one item of a top-level list: what may be kept as it is once the next one began.

    `line` is its first line; `settled_line` the last line that must be complete before this beginning is certain
    (a table is only told from a paragraph by its second line).
    """

    line: int
    settled_line: int
    end_line: int
    blocks: list[Block] = field(default_factory=list)
    list_context: ListContext | None = None
    silent: bool = False  # a definition whose link says it all


class References(dict[str, dict[str, Any]]):
    """Link definitions by label; `used` are the labels that a link was made of."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        if found is not None:
            self.used.add(key)
        return found


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    options = {"html": False, "maxNesting": MAX_NESTING, "inline_definitions": True}
    parser = MarkdownIt("commonmark", options)
    parser.core.ruler.before("text_join", "formulas", keep_backslashes)
    return parser.enable(["table", "strikethrough"])


def parse(source: str) -> list[Block]:
    """All blocks of `source` at once."""
    return [block for unit in parse_units(source) for block in unit.blocks]


def parse_units(
    source: str, continued: ListContext | None = None, references: References | None = None
) -> list[Unit]:
    """The units of `source`. `continued` is the list whose next item `source` may begin with; `references` takes the
    link definitions."""
    references = References() if references is None else references
    lines = source.split("\n")
    units = _Flattener(continued, lines, references).run(_parser().parse(source, {"references": references}))
    for unit in units:
        if unit.silent:
            continue
        if not unit.blocks or not plain_text(unit.blocks).strip(" \n" + "".join(BULLETS)):
            # Nested too deeply to be read, or really empty: whatever words there are, are shown as they came.
            raw = "\n".join(lines[unit.line : unit.end_line]).strip()
            if (not unit.blocks or not _MARKS.fullmatch(raw)) and not any(
                isinstance(block, CodeBlock | TableBlock) for block in unit.blocks
            ):
                unit.blocks = [TextBlock("paragraph", (Span(raw),))]
    return units


@dataclass(slots=True)
class _List:
    ordered: bool
    mark: str
    number: int


@dataclass(slots=True)
class _Table:
    header: list[Inline] = field(default_factory=list)
    rows: list[list[Inline]] = field(default_factory=list)
    align: list[Align] = field(default_factory=list)
    in_header: bool = True


class _Flattener:
    """Walks the tokens once."""

    def __init__(self, continued: ListContext | None, lines: list[str], references: References) -> None:
        self._lines = lines
        self._references = references
        self._defined: set[str] = set()
        self._units: list[Unit] = []
        self._lists: list[_List] = []
        self._quote = 0
        self._marker = ""
        self._heading = 0
        self._table: _Table | None = None
        self._continued = continued

    def run(self, tokens: list[Token]) -> list[Unit]:
        for token in tokens:
            if (
                token.level == 0
                and token.nesting >= 0
                and token.type not in {"bullet_list_open", "ordered_list_open"}
            ):
                self._begin_unit(token)
            handler = getattr(self, f"_on_{token.type}", None)
            if handler is not None:
                handler(token)
        return self._units

    def _begin_unit(self, token: Token) -> None:
        line, end = token.map or (0, 0)
        self._units.append(Unit(line, line + 1 if token.type == "table_open" else line, end))

    def _emit(self, block: Block) -> None:
        self._units[-1].blocks.append(block)

    def _text(self, kind: Any, spans: Inline = (), level: int = 0) -> None:
        marker, self._marker = self._marker, ""
        self._emit(TextBlock(kind, spans, level, len(self._lists), self._quote, marker))

    def _flush_marker(self) -> None:
        """A marker whose item begins with something that is not text stands on a line of its own."""
        if self._marker:
            self._text("paragraph")

    # lists and quotes
    def _on_bullet_list_open(self, token: Token) -> None:
        self._open_list(_List(False, token.markup, 0))

    def _on_ordered_list_open(self, token: Token) -> None:
        start = token.attrGet("start")
        self._open_list(_List(True, token.markup, 1 if start is None else int(start)))

    def _open_list(self, new: _List) -> None:
        self._flush_marker()
        if not self._lists and self._continued and not self._units and self._continued.mark == new.mark:
            new.number = self._continued.number
        self._lists.append(new)

    def _close_list(self, _token: Token) -> None:
        self._lists.pop()

    _on_bullet_list_close = _close_list
    _on_ordered_list_close = _close_list

    def _on_list_item_open(self, token: Token) -> None:
        inner = self._lists[-1]
        if len(self._lists) == 1 and not self._quote:
            self._begin_unit(token)
            self._units[-1].list_context = ListContext(inner.mark, inner.number)
        self._flush_marker()
        if inner.ordered:
            self._marker = f"{inner.number}{inner.mark}"
            inner.number += 1
        else:
            bullets = sum(not one.ordered for one in self._lists)
            self._marker = BULLETS[(bullets - 1) % len(BULLETS)]

    def _on_list_item_close(self, _token: Token) -> None:
        self._flush_marker()

    def _on_blockquote_open(self, _token: Token) -> None:
        self._flush_marker()
        self._quote += 1

    def _on_blockquote_close(self, _token: Token) -> None:
        self._quote -= 1

    # leaves
    def _on_heading_open(self, token: Token) -> None:
        self._heading = int(token.tag[1:])

    def _on_heading_close(self, _token: Token) -> None:
        self._heading = 0

    def _on_inline(self, token: Token) -> None:
        spans = spans_of(token.children or ())
        if self._table is not None:
            (self._table.header if self._table.in_header else self._table.rows[-1]).append(spans)
        elif self._heading:
            self._text("heading", spans, self._heading)
        else:
            self._text("paragraph", self._ticked(spans))

    def _ticked(self, spans: Inline) -> Inline:
        """A task item shows its box in place of the bullet."""
        if self._marker in BULLETS and spans and spans[0].text[:4].lower() in {"[ ] ", "[x] "}:
            self._marker = "☐" if spans[0].text[1] == " " else "☑"
            first = spans[0]
            rest = Span(first.text[4:], first.bold, first.italic, first.strike, first.code, first.href)
            return (rest, *spans[1:]) if rest.text else spans[1:]
        return spans

    def _on_definition(self, token: Token) -> None:
        """A definition is no more than its link where there is one; else it is what somebody wrote."""
        label, used = str(token.meta["id"]), self._references.used
        if label in used and label not in self._defined and safe_href(str(token.meta["url"])):
            self._units[-1].silent = token.level == 0
        else:
            first, end = token.map or (0, 0)
            head, *rest = self._lines[first:end]
            written = [head[max(head.find("["), 0) :], *(line.lstrip(" \t>") for line in rest)]
            self._text("paragraph", plain_spans("\n".join(written).rstrip()))
        self._defined.add(label)

    def _on_hr(self, _token: Token) -> None:
        self._text("rule")

    def _on_fence(self, token: Token) -> None:
        self._flush_marker()
        self._emit(_code(token, " ".join(token.info.split()), len(self._lists), self._quote))

    def _on_code_block(self, token: Token) -> None:
        self._flush_marker()
        self._emit(_code(token, "", len(self._lists), self._quote))

    # tables
    def _on_table_open(self, _token: Token) -> None:
        self._flush_marker()
        self._table = _Table()

    def _on_th_open(self, token: Token) -> None:
        style = str(token.attrGet("style") or "")
        assert self._table is not None
        self._table.align.append("right" if "right" in style else "center" if "center" in style else "left")

    def _on_tbody_open(self, _token: Token) -> None:
        assert self._table is not None
        self._table.in_header = False

    def _on_tr_open(self, _token: Token) -> None:
        assert self._table is not None
        if not self._table.in_header:
            self._table.rows.append([])

    def _on_table_close(self, _token: Token) -> None:
        table, self._table = self._table, None
        assert table is not None
        rows = tuple(tuple(row) for row in table.rows)
        indent, quote = len(self._lists), self._quote
        self._emit(TableBlock(tuple(table.header), rows, tuple(table.align), indent, quote))


def _code(token: Token, language: str, indent: int, quote: int) -> CodeBlock:
    return CodeBlock(token.content.removesuffix("\n"), language, indent, quote)
