"""Grammars in llama.cpp's GBNF, read.

The notation is that of llama.cpp's grammars/README.md, with tokens (`<[1000]>`, `<think>`, and `!` before them).
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEEPEST = 100
"""Nested parentheses that are read."""
_MOST_RULES = 5000
_MOST_TIMES = 100_000
_MOST_OPEN = 3000  # choices and repetitions: in a row, each may follow each, which takes time by their square
_LARGEST_CHARACTER = 0x10FFFF
_WORD = frozenset(string.ascii_letters + string.digits + "-_")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n", **{character: character for character in '\\"[]-'}}


class GrammarError(ValueError):
    """What is wrong in a grammar, in words that follow "the grammar is not valid"."""


@dataclass(frozen=True, slots=True)
class Fixed:
    text: str


@dataclass(frozen=True, slots=True)
class Character:
    """One character; `regex` says which."""

    regex: str


@dataclass(frozen=True, slots=True)
class OneToken:
    """One token of the vocabulary, or any but this one."""

    number: int
    other: bool


@dataclass(frozen=True, slots=True)
class Reference:
    name: str


@dataclass(frozen=True, slots=True)
class Series:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    ways: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    item: Node
    least: int
    most: int | None


Node = Fixed | Character | OneToken | Reference | Series | Alternatives | Repeat


def rules_of(text: str, token_of: Callable[[str], int]) -> dict[str, Node]:
    """Every rule by its name, `root` and all that are named among them. `token_of`: the token with this text, or -1.

    Raises `GrammarError`.
    """
    return _GbnfReader(text, token_of).rules()


class _GbnfReader:
    """Reads a grammar from its beginning to its end."""

    def __init__(self, text: str, token_of: Callable[[str], int]) -> None:
        self._text = text
        self._token_of = token_of
        self._at = 0
        self._depth = 0
        self._open = 0

    def rules(self) -> dict[str, Node]:
        """Every rule by its name; each name that is used is there, and `root`. Raises `GrammarError`."""
        rules: dict[str, Node] = {}
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
        if len(rules) > _MOST_RULES:
            raise GrammarError(f"it has more than {_MOST_RULES} rules")
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

    def _choice(self, used: dict[str, None], *, nested: bool) -> Node:
        ways = [self._row(used, nested=nested)]
        while self._peek() == "|":
            self._at += 1
            self._skip(lines=True)
            ways.append(self._row(used, nested=nested))
        if len(ways) == 1:
            return ways[0]
        self._count()
        return Alternatives(tuple(ways))

    def _count(self) -> None:
        self._open += 1
        if self._open > _MOST_OPEN:
            raise GrammarError(f"it has more than {_MOST_OPEN} choices and repetitions")

    def _row(self, used: dict[str, None], *, nested: bool) -> Node:
        items: list[Node] = []
        while (item := self._item(used)) is not None:
            self._skip(lines=nested)
            items.append(self._repeated(item, nested=nested))
        if self._peek() and self._peek() in "*+?{":
            raise self._wrong("expecting preceding item to */+/?/{")
        return items[0] if len(items) == 1 else Series(tuple(items))

    def _item(self, used: dict[str, None]) -> Node | None:
        match self._peek():
            case '"':
                return self._literal()
            case "[":
                return self._class()
            case ".":
                self._at += 1
                return Character(r"[^\x{0}]")
            case "(":
                return self._group(used)
            case "<" | "!":
                return self._token()
            case character if character in _WORD:
                name = self._name()
                used[name] = None
                return Reference(name)
        return None

    def _group(self, used: dict[str, None]) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise GrammarError(f"it is nested more than {DEEPEST} deep")
        self._at += 1
        self._skip(lines=True)
        inner = self._choice(used, nested=True)
        self._expect(")")
        self._depth -= 1
        return inner

    def _repeated(self, item: Node, *, nested: bool) -> Node:
        """The item with what stands behind it; several signs hold for all before them."""
        while (sign := self._peek()) and sign in "*+?{":
            self._at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1), "{": (0, None)}[sign]
            if sign == "{":
                least, most = self._times()
            self._skip(lines=nested)
            item = Repeat(item, least, most)
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

    def _literal(self) -> Node:
        self._at += 1
        found = []
        while self._peek() != '"':
            found.append(self._character())
        self._at += 1
        return Fixed(_encodable("".join(found)))

    def _class(self) -> Node:
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
        return Character(("[^\\x{0}" if negated else "[") + "".join(parts) + "]")

    def _token(self) -> Node:
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
        return OneToken(number, other)


def _encodable(text: str) -> str:
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise GrammarError("it holds half of a character (a lone surrogate)")
    return text
