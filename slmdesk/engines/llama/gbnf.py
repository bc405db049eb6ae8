"""Grammars in llama.cpp's GBNF, read here and written in the syntax of llguidance.

llama.cpp walks every way through a grammar that what was written leaves open: forty short rules that each have two ways
take it longer than anybody waits, and it cannot be stopped. llguidance's Earley parser takes them all at once and has
limits. Rules that do not come back to themselves become regular expressions, which say exactly the same. In those that
do, pieces between two of them are cut by the longest match, as in any lexer.

The notation is that of llama.cpp's grammars/README.md, with tokens (`<[1000]>`, `<think>`, and `!` before them).
"""

from __future__ import annotations

import json
import string
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEEPEST = 100
"""Nested parentheses that are read."""
_MOST_TIMES = 100_000
_MOST_OPEN = 3000  # choices and repetitions: in a row, each may follow each, which takes time by their square
_LARGEST_CHARACTER = 0x10FFFF
_WORD = frozenset(string.ascii_letters + string.digits + "-_")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n", **{character: character for character in '\\"[]-'}}


class GrammarError(ValueError):
    """What is wrong in a grammar, in words that follow "the grammar is not valid"."""


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Character:
    """One character; `regex` says which."""

    regex: str


@dataclass(frozen=True, slots=True)
class _Token:
    """One token of the vocabulary, or any but this one."""

    number: int
    other: bool


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str


@dataclass(frozen=True, slots=True)
class _Row:
    items: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    ways: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    item: _Node
    least: int
    most: int | None


_Node = _Text | _Character | _Token | _Reference | _Row | _Choice | _Repeat


def lark(text: str, token_of: Callable[[str], int]) -> str:
    """The rules in llguidance's syntax, `start` first. `token_of`: the token with this text, -1 for none.

    Raises `GrammarError`.
    """
    return _Writer(_Reader(text, token_of).rules()).written()


class _Reader:
    """Reads a grammar from its beginning to its end."""

    def __init__(self, text: str, token_of: Callable[[str], int]) -> None:
        self._text = text
        self._token_of = token_of
        self._at = 0
        self._depth = 0
        self._open = 0

    def rules(self) -> dict[str, _Node]:
        """Every rule by its name; each name that is used is there, and `root`. Raises `GrammarError`."""
        rules: dict[str, _Node] = {}
        used: dict[str, None] = {}
        self._skip(lines=True)
        while self._peek():
            name = self._name()
            self._skip(lines=False)
            self._expect("::=")
            self._skip(lines=True)
            rules[name] = self._choice(used, nested=False)
            if self._peek() not in ("", "\r", "\n"):
                raise self._wrong("expecting newline or end")
            self._skip(lines=True)
        for name in used:
            if name not in rules:
                raise GrammarError(f"undefined rule identifier '{name[:100]}'")
        if "root" not in rules:
            raise GrammarError("it has no rule named root")
        return rules

    def _wrong(self, what: str) -> GrammarError:
        rest = self._text[self._at : self._at + 40]
        return GrammarError(f"{what} at “{rest}”" if rest else f"{what} at its end")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            raise self._wrong(f"expecting {text}")
        self._at += len(text)

    def _skip(self, *, lines: bool) -> None:
        text, spaces = self._text, " \t\r\n" if lines else " \t"
        while self._at < len(text):
            if text[self._at] in spaces:
                self._at += 1
            elif text[self._at] == "#":
                while self._peek() not in ("", "\r", "\n"):
                    self._at += 1
            else:
                return

    def _name(self) -> str:
        start = self._at
        while self._peek() in _WORD:
            self._at += 1
        if self._at == start:
            raise self._wrong("expecting name")
        return self._text[start : self._at]

    def _choice(self, used: dict[str, None], *, nested: bool) -> _Node:
        ways = [self._row(used, nested=nested)]
        while self._peek() == "|":
            self._at += 1
            self._skip(lines=True)
            ways.append(self._row(used, nested=nested))
        if len(ways) == 1:
            return ways[0]
        self._count()
        return _Choice(tuple(ways))

    def _count(self) -> None:
        self._open += 1
        if self._open > _MOST_OPEN:
            raise GrammarError(f"it has more than {_MOST_OPEN} choices and repetitions")

    def _row(self, used: dict[str, None], *, nested: bool) -> _Node:
        items: list[_Node] = []
        while (item := self._item(used)) is not None:
            self._skip(lines=nested)
            items.append(self._repeated(item, nested=nested))
        if self._peek() and self._peek() in "*+?{":
            raise self._wrong("expecting preceding item to */+/?/{")
        return items[0] if len(items) == 1 else _Row(tuple(items))

    def _item(self, used: dict[str, None]) -> _Node | None:
        match self._peek():
            case '"':
                return self._literal()
            case "[":
                return self._class()
            case ".":
                self._at += 1
                return _Character(r"[^\x{0}]")
            case "(":
                return self._group(used)
            case "<" | "!":
                return self._token()
            case character if character in _WORD:
                name = self._name()
                used[name] = None
                return _Reference(name)
        return None

    def _group(self, used: dict[str, None]) -> _Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise GrammarError(f"it is nested more than {DEEPEST} deep")
        self._at += 1
        self._skip(lines=True)
        inner = self._choice(used, nested=True)
        self._expect(")")
        self._depth -= 1
        return inner

    def _repeated(self, item: _Node, *, nested: bool) -> _Node:
        """The item with what stands behind it; several signs hold for all before them."""
        while (sign := self._peek()) and sign in "*+?{":
            self._at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1), "{": (0, None)}[sign]
            if sign == "{":
                least, most = self._times()
            self._skip(lines=nested)
            item = _Repeat(item, least, most)
            self._count()
        return item

    def _times(self) -> tuple[int, int | None]:
        self._skip(lines=True)
        least = 0 if self._peek() == "," else self._number()
        most: int | None = least
        self._skip(lines=True)
        if self._peek() == ",":
            self._at += 1
            self._skip(lines=True)
            most = self._number() if self._peek() != "}" else None
            self._skip(lines=True)
        self._expect("}")
        if max(least, most or 0) > _MOST_TIMES:
            raise GrammarError(f"something may come {max(least, most or 0)} times, {_MOST_TIMES} is the most")
        if most is not None and most < least:
            raise GrammarError(f"something must come {least} times, and {most} times at most")
        return least, most

    def _number(self) -> int:
        start = self._at
        while self._peek() and self._peek() in string.digits:
            self._at += 1
        if self._at == start or self._at - start > 15:
            raise self._wrong("expecting integer")
        return int(self._text[start : self._at])

    def _character(self) -> str:
        """One character of a literal or a class, escapes read."""
        character = self._peek()
        if not character:
            raise self._wrong("unexpected end of input")
        self._at += 1
        if character != "\\":
            return character
        sign = self._peek()
        self._at += 1
        if sign in _ESCAPED:
            return _ESCAPED[sign]
        size = _HEX.get(sign, 0)
        digits = self._text[self._at : self._at + size]
        if not size or len(digits) < size or not all(digit in string.hexdigits for digit in digits):
            self._at -= 2
            raise self._wrong("unknown escape")
        self._at += size
        if int(digits, 16) > _LARGEST_CHARACTER:
            raise self._wrong("there is no such character")
        return chr(int(digits, 16))

    def _literal(self) -> _Node:
        self._at += 1
        found = []
        while self._peek() != '"':
            found.append(self._character())
        self._at += 1
        return _Text(_encodable("".join(found)))

    def _class(self) -> _Node:
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        parts = []
        while self._peek() != "]":
            first = last = self._character()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                last = self._character()
            if last < first:
                raise self._wrong(f"nothing lies between “{first}” and “{last}”")
            parts.append(f"\\x{{{ord(_encodable(first)):x}}}-\\x{{{ord(_encodable(last)):x}}}")
        self._at += 1
        if not parts:
            raise self._wrong("a class of no characters")
        # As in llama.cpp, a text has no zero character.
        return _Character(("[^\\x{0}" if negated else "[") + "".join(parts) + "]")

    def _token(self) -> _Node:
        other = self._peek() == "!"
        self._at += other
        start = self._at
        end = self._text.find(">", start)
        if self._peek() != "<" or end < 0:
            raise self._wrong("expecting a token such as <[1]>")
        self._at = end + 1
        name = self._text[start : self._at]
        if name.startswith("<[") and name.endswith("]>") and name[2:-2].isdecimal():
            number = int(name[2:-2]) if len(name) < 16 else -1
        else:
            number = self._token_of(name)
        if number < 0:
            raise GrammarError(f"invalid token '{name[:100]}'")
        return _Token(number, other)


def _encodable(text: str) -> str:
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise GrammarError("it holds half of a character (a lone surrogate)")
    return text


class _Writer:
    """Writes what can be reached from `root`."""

    def __init__(self, rules: dict[str, _Node]) -> None:
        self._rules = rules
        self._plain = _plain_rules(rules)  # those that become terminals, which have upper-case names
        self._names = {
            name: f"{'T' if name in self._plain else 'r'}{number}" for number, name in enumerate(rules)
        }
        self._lines: list[str] = []
        self._known: dict[str, str] = {}

    def written(self) -> str:
        lines = [f"start: {self._names['root']}"]
        waiting, seen = deque(["root"]), {"root"}
        while waiting:
            name = waiting.popleft()
            node = self._rules[name]
            write = self._terminal if name in self._plain else self._rule
            lines.append(f"{self._names[name]}: {write(node)}")
            for other in _references(node):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return "\n".join([*lines, *self._lines, ""])

    def _named(self, kind: str, text: str) -> str:
        """A name for what has none in the grammar: llguidance takes few parentheses within each other."""
        line = f"{kind}: {text}"
        if line not in self._known:
            self._known[line] = f"{kind}{len(self._known)}"
            self._lines.append(f"{self._known[line]}: {text}")
        return self._known[line]

    def _is_plain(self, node: _Node) -> bool:
        match node:
            case _Token():
                return False
            case _Reference(name):
                return name in self._plain
            case _Row(nodes) | _Choice(nodes):
                return all(map(self._is_plain, nodes))
            case _Repeat(item):
                return self._is_plain(item)
        return True

    def _terminal(self, node: _Node) -> str:
        """As part of a terminal: a regular expression."""
        match node:
            case _Text(text):
                return json.dumps(text, ensure_ascii=False)
            case _Character(regex):
                return f"/{regex}/"
            case _Reference(name):
                return self._names[name]
            case _Row(items):
                return " ".join(map(self._grouped, items)) or '""'
            case _Choice(ways):
                return " | ".join(map(self._terminal, ways))
            case _Repeat(item):
                return self._grouped(item) + _times(node)
        raise AssertionError(node)

    def _grouped(self, node: _Node) -> str:
        text = self._terminal(node)
        return text if isinstance(node, _Text | _Character | _Reference) else self._named("M", text)

    def _rule(self, node: _Node) -> str:
        """As part of a rule: what is regular in it as a terminal of its own."""
        if self._is_plain(node):
            return self._named("M", self._terminal(node))
        match node:
            case _Token(number, other):
                return f"<[{'^' if other else ''}{number}]>"
            case _Reference(name):
                return self._names[name]
            case _Row(items):
                return " ".join(self._row(items))
            case _Choice(ways):  # a choice in a choice needs no brackets
                regular = [way for way in ways if self._is_plain(way)]
                found = [self._rule(way) for way in ways if not self._is_plain(way)]
                if regular:
                    found.append(self._rule(_Choice(tuple(regular))))
                return " | ".join(found)
            case _Repeat(item):
                return self._named("g", self._rule(item)) + _times(node)
        raise AssertionError(node)

    def _row(self, items: tuple[_Node, ...]) -> Iterator[str]:
        """Neighbours that are regular make one terminal."""
        beside: list[_Node] = []
        for item in items:
            if self._is_plain(item):
                beside.append(item)
                continue
            if beside:
                yield self._rule(_Row(tuple(beside)))
                beside = []
            text = self._rule(item)
            yield self._named("g", text) if isinstance(item, _Choice | _Row) else text
        if beside:
            yield self._rule(_Row(tuple(beside)))


def _times(node: _Repeat) -> str:
    return f"{{{node.least},{'' if node.most is None else node.most}}}"


def _references(node: _Node) -> Iterator[str]:
    match node:
        case _Reference(name):
            yield name
        case _Row(nodes) | _Choice(nodes):
            for one in nodes:
                yield from _references(one)
        case _Repeat(item):
            yield from _references(item)


def _has_token(node: _Node) -> bool:
    match node:
        case _Token():
            return True
        case _Row(nodes) | _Choice(nodes):
            return any(map(_has_token, nodes))
        case _Repeat(item):
            return _has_token(item)
    return False


def _plain_rules(rules: dict[str, _Node]) -> set[str]:
    """The rules that never come back to themselves and name no token, also not by way of others."""
    uses = {name: set(_references(node)) for name, node in rules.items()}
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, used in uses.items():
        for other in used:
            users[other].append(name)
    open_ones = {name: len(used) + _has_token(rules[name]) for name, used in uses.items()}
    ready = deque(name for name, count in open_ones.items() if not count)
    plain: set[str] = set()
    while ready:
        name = ready.popleft()
        plain.add(name)
        for user in users[name]:
            open_ones[user] -= 1
            if not open_ones[user]:
                ready.append(user)
    return plain
