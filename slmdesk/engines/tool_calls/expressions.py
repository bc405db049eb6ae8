"""Call expressions as FunctionGemma and Gemma 4 write them: `call:name{city:<escape>Oslo<escape>,days:3}`.

Text stands between two equal marks, keys are bare or marked likewise, everything else is as in JSON.
"""

from __future__ import annotations

import re
from typing import NoReturn

_CALL = re.compile(r"call:([A-Za-z0-9_.\-]+)\s*(?=\{)")
_TEXT_MARKS = ("<escape>", '<|"|>', '"')
_BARE = re.compile(r"[^,:{}\[\]]+")
_WORDS = {"true": True, "false": False, "null": None, "None": None, "True": True, "False": False}
_DEEPEST = 50


def read_expression(text: str) -> tuple[str, dict[str, object]] | None:
    """A call's name and arguments; None where it is none."""
    head = _CALL.match(text)
    if head is None:
        return None
    reader = _ExpressionReader(text, head.end())
    try:
        value = reader.value(0)
    except _NoExpressionError:
        return None
    return (head[1], value) if isinstance(value, dict) else None


class _NoExpressionError(Exception):
    pass


class _ExpressionReader:
    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._at = at

    def value(self, depth: int) -> object:
        if depth > _DEEPEST:
            self._fail()
        self._skip()
        if self._take("{"):
            return self._object(depth)
        if self._take("["):
            return self._list(depth)
        marked = self._marked()
        return _plain(self._bare()) if marked is None else marked

    def _object(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while not self._take("}"):
            key = self._marked()
            name = self._bare() if key is None else key
            if not self._take(":"):
                self._fail()
            found[name] = self.value(depth + 1)
            if not self._take(",") and not self._sees("}"):
                self._fail()
        return found

    def _list(self, depth: int) -> list[object]:
        found: list[object] = []
        while not self._take("]"):
            found.append(self.value(depth + 1))
            if not self._take(",") and not self._sees("]"):
                self._fail()
        return found

    def _marked(self) -> str | None:
        """Text between two marks; None where none begins here."""
        self._skip()
        for mark in _TEXT_MARKS:
            if self._text.startswith(mark, self._at):
                start = self._at + len(mark)
                end = self._text.find(mark, start)
                if end < 0:
                    self._fail()
                self._at = end + len(mark)
                return self._text[start:end]
        return None

    def _bare(self) -> str:
        self._skip()
        found = _BARE.match(self._text, self._at)
        if found is None:
            self._fail()
        self._at = found.end()
        return found[0].strip()

    def _take(self, character: str) -> bool:
        if not self._sees(character):
            return False
        self._at += 1
        return True

    def _sees(self, character: str) -> bool:
        self._skip()
        return self._text.startswith(character, self._at)

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _fail(self) -> NoReturn:
        raise _NoExpressionError


def _plain(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
