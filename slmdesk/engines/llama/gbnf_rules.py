"""Rules of a GBNF grammar in llguidance's dialect of Lark.

llama.cpp walks every way through a grammar that what was written leaves open: forty short rules that each have two ways
take it longer than anybody waits, and it cannot be stopped. llguidance's Earley parser takes them all at once and has
limits. Rules that do not come back to themselves become regular expressions, which say exactly the same. In those that
do, pieces between two of them are cut by the longest match, as in any lexer.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from slmdesk.engines.llama.gbnf import (
    Alternatives,
    Character,
    Fixed,
    GrammarError,
    Node,
    OneToken,
    Reference,
    Repeat,
    Series,
    rules_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEEPEST_RULES = 1000  # llguidance's compiler recurses
_MOST_RECURSIVE = 1000


def lark(text: str, token_of: Callable[[str], int]) -> str:
    """The rules in llguidance's syntax, `start` first. `token_of`: the token with this text, -1 for none.

    Raises `GrammarError`.
    """
    rules = rules_of(text, token_of)
    _check_ends(rules)
    return _Writer(rules).written()


class _Writer:
    """Writes what can be reached from `root`."""

    def __init__(self, rules: dict[str, Node]) -> None:
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

    def _is_plain(self, node: Node) -> bool:
        match node:
            case OneToken():
                return False
            case Reference(name):
                return name in self._plain
            case Series(nodes) | Alternatives(nodes):
                return all(map(self._is_plain, nodes))
            case Repeat(item):
                return self._is_plain(item)
        return True

    def _terminal(self, node: Node) -> str:
        """As part of a terminal: a regular expression."""
        match node:
            case Fixed(text):
                return json.dumps(text, ensure_ascii=False)
            case Character(regex):
                return f"/{regex}/"
            case Reference(name):
                return self._names[name]
            case Series(items):
                return " ".join(map(self._grouped, items)) or '""'
            case Alternatives(ways):
                return " | ".join(map(self._terminal, ways))
            case Repeat(item):
                return self._grouped(item) + _times(node)
        raise AssertionError(node)

    def _grouped(self, node: Node) -> str:
        text = self._terminal(node)
        return text if isinstance(node, Fixed | Character | Reference) else self._named("M", text)

    def _rule(self, node: Node) -> str:
        """As part of a rule: what is regular in it as a terminal of its own."""
        if self._is_plain(node):
            return self._named("M", self._terminal(node))
        match node:
            case OneToken(number, other):
                return f"<[{'^' if other else ''}{number}]>"
            case Reference(name):
                return self._names[name]
            case Series(items):
                return " ".join(self._row(items))
            case Alternatives(ways):  # a choice in a choice needs no brackets
                regular = [way for way in ways if self._is_plain(way)]
                found = [self._rule(way) for way in ways if not self._is_plain(way)]
                if regular:
                    found.append(self._rule(Alternatives(tuple(regular))))
                return " | ".join(found)
            case Repeat(item):
                return self._named("g", self._rule(item)) + _times(node)
        raise AssertionError(node)

    def _row(self, items: tuple[Node, ...]) -> Iterator[str]:
        """Neighbours that are regular make one terminal."""
        beside: list[Node] = []
        for item in items:
            if self._is_plain(item):
                beside.append(item)
                continue
            if beside:
                yield self._rule(Series(tuple(beside)))
                beside = []
            text = self._rule(item)
            yield self._named("g", text) if isinstance(item, Alternatives | Series) else text
        if beside:
            yield self._rule(Series(tuple(beside)))


def _times(node: Repeat) -> str:
    return f"{{{node.least},{'' if node.most is None else node.most}}}"


def _references(node: Node) -> Iterator[str]:
    match node:
        case Reference(name):
            yield name
        case Series(nodes) | Alternatives(nodes):
            for one in nodes:
                yield from _references(one)
        case Repeat(item):
            yield from _references(item)


def _has_token(node: Node) -> bool:
    match node:
        case OneToken():
            return True
        case Series(nodes) | Alternatives(nodes):
            return any(map(_has_token, nodes))
        case Repeat(item):
            return _has_token(item)
    return False


def _users(rules: dict[str, Node]) -> dict[str, list[str]]:
    """By rule, those that name it."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, node in rules.items():
        for other in set(_references(node)):
            users[other].append(name)
    return users


def _plain_rules(rules: dict[str, Node]) -> set[str]:
    """The rules that never come back to themselves and name no token, also not by way of others.

    Raises `GrammarError` where they go on within each other too deeply to be read.
    """
    users = _users(rules)
    open_ones = {name: len(set(_references(node))) + _has_token(node) for name, node in rules.items()}
    ready = deque(name for name, count in open_ones.items() if not count)
    depths: dict[str, int] = {}
    while ready:
        name = ready.popleft()
        depths[name] = _depth(rules[name], depths)
        if depths[name] > _DEEPEST_RULES:
            raise GrammarError(f"its rules go on within each other more than {_DEEPEST_RULES} deep")
        for user in users[name]:
            open_ones[user] -= 1
            if not open_ones[user]:
                ready.append(user)
    if len(rules) - len(depths) > _MOST_RECURSIVE:
        raise GrammarError(f"more than {_MOST_RECURSIVE} of its rules come back to themselves")
    return set(depths)


def _depth(node: Node, depths: dict[str, int]) -> int:
    match node:
        case Reference(name):
            return 1 + depths[name]
        case Series(nodes) | Alternatives(nodes):
            return 1 + max((_depth(one, depths) for one in nodes), default=0)
        case Repeat(item):
            return 1 + _depth(item, depths)
    return 1


def _check_ends(rules: dict[str, Node]) -> None:
    """Raise `GrammarError` where every text that begins as `root` says would have to go on for ever."""
    users = _users(rules)
    ending: set[str] = set()

    def ends(node: Node) -> bool:
        match node:
            case Reference(name):
                return name in ending
            case Series(nodes):
                return all(map(ends, nodes))
            case Alternatives(nodes):
                return any(map(ends, nodes))
            case Repeat(item, least):
                return not least or ends(item)
        return True

    waiting = deque(rules)
    while waiting:
        name = waiting.popleft()
        if name not in ending and ends(rules[name]):
            ending.add(name)
            waiting.extend(users[name])
    if "root" not in ending:
        raise GrammarError("it allows no answer that ends")
