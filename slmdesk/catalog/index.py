"""Finding among 100 000 entries while a person types: filter, rank and sort within one frame.

Names lie one after the other in one array of bytes; a word is found by comparing the whole array with its first
letter and then only the places left with the next ones. Where nothing matches, sets of letter pairs held
as bits find names that are spelled nearly so.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.catalog.records import (
    FORMATS,
    KINDS,
    SORTS,
    TIERS,
    CatalogEntry,
    CatalogQuery,
    SearchResults,
    Sort,
    rough_memory,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_WORD = re.compile(r"[^\s/_,:;]+")
_BREAKS = np.zeros(256, dtype=bool)  # bytes after which a word begins
_BREAKS[[ord(c) for c in "\n/-_. "]] = True
_NEWLINE, _SLASH = 10, 47
_PIECES = re.compile(r"[\s/\-_.]+")
_ADD_BYTES = np.uint64(0x0101010101010101)
_COMMON = b"abcdefghijklmnopqrstuvwxyz0123456789"
_GRAM_WORDS = 8  # 64-bit words of letter pairs an entry: 512 bits
_GRAM_BITS = _GRAM_WORDS * 64
_ALIKE = 0.45  # share of a query's letter pairs a name must hold to be looked at closely
_LOOKED_AT = 16
_NEAR = 0.68  # similarity of two words that count as one misspelled
_MERGE_AT = 2000
_WORDS_KEPT = 64


class CatalogIndex:
    """All entries known here. Searching takes milliseconds; adding many takes a moment: do that in a thread."""

    def __init__(self, entries: Iterable[CatalogEntry] = ()) -> None:
        self._all = {entry.id: entry for entry in entries}
        self._main = _IndexSegment(list(self._all.values()))
        self._recent = _IndexSegment([])

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, entry_id: str) -> bool:
        return entry_id in self._all

    def get(self, entry_id: str) -> CatalogEntry | None:
        return self._all.get(entry_id)

    def add(self, entries: Iterable[CatalogEntry]) -> None:
        """Put entries in, each in the place of an older one with the same id."""
        new = {entry.id: entry for entry in entries if self._all.get(entry.id) != entry}
        if not new:
            return
        recent = {entry.id: entry for entry in self._recent.entries} | new
        self._all |= new
        if len(recent) > _MERGE_AT:
            self._main = _IndexSegment(list(self._all.values()))
            self._recent = _IndexSegment([])
        else:
            self._main.hide(new)
            self._recent = _IndexSegment(list(recent.values()))

    def search(self, query: CatalogQuery, limit: int = 200) -> SearchResults:
        """The best `limit` entries for the query's words, filters and order."""
        words = [word.lower().encode() for word in _WORD.findall(query.text)]
        parts = [segment.search(words, query, limit) for segment in (self._main, self._recent)]
        total = sum(part.total for part in parts)
        if words and not total:
            parts = [segment.similar(words, query) for segment in (self._main, self._recent)]
            total = sum(len(part.ids) for part in parts)
        scored = [pair for part in parts for pair in zip(part.scores, part.ids, strict=True)]
        scored.sort(key=lambda pair: pair[0], reverse=True)
        return SearchResults(tuple(self._all[entry_id] for _, entry_id in scored[:limit]), total)


@dataclass(slots=True)
class _Hits:
    ids: list[str]
    scores: list[Any]
    total: int


class _IndexSegment:
    """Columns of a set of entries, made once."""

    def __init__(self, entries: list[CatalogEntry]) -> None:
        entries = sorted(entries, key=lambda entry: entry.id)
        self.entries = entries
        count = len(entries)
        lines = [entry.id.lower().encode() + b"\n" for entry in entries]
        self._text = np.frombuffer(b"\n" + b"".join(lines), dtype=np.uint8)
        lengths = np.fromiter((len(line) for line in lines), dtype=np.int64, count=count)
        self._row_of = np.repeat(np.arange(-1, count, dtype=np.int32), np.concatenate(([1], lengths)))
        self._row_of[0] = 0
        self._lengths = lengths
        before = np.concatenate((self._text[:1], self._text[:-1]))
        self._begins = _BREAKS[before]  # where a word begins
        self._names = (before == _SLASH) | (before == _NEWLINE)  # where a publisher's or model's name begins
        self._shown = np.ones(count, dtype=bool)
        self._columns = _columns(entries)
        self._orders = {sort: _order(sort, entries) for sort in SORTS}
        self._grams = _gram_table(self._text, self._row_of, count)
        # Where each byte stands, one byte after the other: those of byte b from _from[b] to _from[b + 1].
        self._frequency = np.bincount(self._text, minlength=256)
        self._places = np.argsort(self._text, kind="stable").astype(np.int32)
        self._from = np.concatenate(([0], np.cumsum(self._frequency)))
        self._words: dict[bytes, NDArray[np.uint8]] = {}
        # One letter is in most names: finding it everywhere is the slowest search, so it is done beforehand.
        self._letters = {letter: self._scored(bytes([letter])) for letter in _COMMON}

    def hide(self, ids: Iterable[str]) -> None:
        """Leave these out: newer ones are elsewhere."""
        for entry_id in ids:
            row = bisect_left(self.entries, entry_id, key=lambda entry: entry.id)
            if row < len(self.entries) and self.entries[row].id == entry_id:
                self._shown[row] = False

    def search(self, words: Sequence[bytes], query: CatalogQuery, limit: int) -> _Hits:
        rows = np.flatnonzero(self._allowed(query))
        if not len(rows):
            return _Hits([], [], 0)
        found = [self._word(word) for word in words]
        for scores in found:
            rows = rows[scores[rows] > 0]
        keys = self._orders[query.sort][rows]
        if found and query.sort == "relevance":
            keys = keys + np.sum([scores[rows] for scores in found], axis=0) / len(found)
        total = len(rows)
        if total > limit:
            best = np.argpartition(keys, total - limit)[total - limit :]
            rows, keys = rows[best], keys[best]
        order = np.argsort(-keys, kind="stable")
        rows, keys = rows[order], keys[order]
        return _Hits([self.entries[row].id for row in rows.tolist()], keys.tolist(), total)

    def similar(self, words: Sequence[bytes], query: CatalogQuery) -> _Hits:
        """Entries with words spelled nearly like these."""
        if not self.entries:
            return _Hits([], [], 0)
        wanted = _grams_of(words)
        bits = int(np.bitwise_count(wanted).sum())
        if not 0 < bits < 256:
            return _Hits([], [], 0)
        counts = np.bitwise_count(self._grams & wanted).view(np.uint64).ravel()
        shared = (counts * _ADD_BYTES >> np.uint64(56)).astype(
            np.float64
        ) / bits  # the eight counts of a row added
        shared[~self._allowed(query)] = 0
        shared -= 0.0005 * self._lengths  # long names hold many pairs by chance
        rows = np.argpartition(shared, -min(_LOOKED_AT, len(shared)))[-_LOOKED_AT:]
        typed = [piece for word in words for piece in _PIECES.split(word.decode()) if piece]
        alike = _Alike()
        found = []
        for row in rows.tolist():
            entry = self.entries[row]
            if shared[row] < _ALIKE:
                continue
            likeness = alike.of(typed, entry.id.lower())
            if likeness >= _NEAR:
                found.append((likeness - 1.0 + float(self._orders["relevance"][row]) / 10, entry.id))
        return _Hits([entry_id for _, entry_id in found], [score for score, _ in found], len(found))

    def _word(self, word: bytes) -> NDArray[np.uint8]:
        """For each entry how well it holds the word: 0 not at all, 1 inside, 2 at a word's begin, 3 at a name's,
        4 as a whole name. What was asked lately is remembered: a keystroke changes one word only."""
        scores = self._letters.get(word[0]) if len(word) == 1 else self._words.get(word)
        if scores is None:
            if len(self._words) >= _WORDS_KEPT:
                del self._words[next(iter(self._words))]
            scores = self._words[word] = self._scored(word)
        return scores

    def _scored(self, word: bytes) -> NDArray[np.uint8]:
        text, scores = self._text, np.zeros(len(self.entries), dtype=np.uint8)
        by_frequency = sorted(range(len(word)), key=lambda at: int(self._frequency[word[at]]))
        rarest = word[by_frequency[0]]
        places = self._places[self._from[rarest] : self._from[rarest + 1]] - by_frequency[0]
        places = places[(places > 0) & (places < len(text) - len(word))]
        for offset in by_frequency[1:]:
            if not len(places):
                return scores
            places = places[text[places + offset] == word[offset]]
        if not len(places):
            return scores
        named = self._names[places]
        behind = text[places + len(word)]
        worth = (
            1
            + self._begins[places].astype(np.uint8)
            + named
            + (named & ((behind == _NEWLINE) | (behind == _SLASH)))
        )
        rows = self._row_of[places]
        first = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
        scores[rows[first]] = np.maximum.reduceat(worth, first)
        return scores

    def _allowed(self, query: CatalogQuery) -> NDArray[np.bool_]:
        column = self._columns
        allowed = self._shown.copy()
        if query.formats:
            allowed &= (column.formats & _bits(query.formats, FORMATS)) != 0
        if query.tiers:
            allowed &= (column.tier & _bits(query.tiers, TIERS)) != 0
        if query.kind:
            allowed &= column.kind == KINDS.index(query.kind)
        if query.gated is not None:
            allowed &= column.gated == query.gated
        if query.task:
            allowed &= column.tasks == column.codes.get(query.task, -2)
        if query.licences:
            codes = [column.codes.get(one.lower(), -2) for one in query.licences]
            allowed &= np.isin(column.licences, codes)
        if query.publisher:
            allowed &= column.publishers == column.codes.get(query.publisher.lower(), -2)
        if query.languages:
            speaks = np.fromiter(
                (not e.languages or any(one in e.languages for one in query.languages) for e in self.entries),
                dtype=bool,
                count=len(self.entries),
            )
            allowed &= speaks
        if query.fits:
            allowed &= (column.memory > 0) & (column.memory <= query.memory)
        return allowed


@dataclass(slots=True)
class _Columns:
    formats: NDArray[np.uint8]
    tier: NDArray[np.uint8]
    kind: NDArray[np.int8]
    gated: NDArray[np.bool_]
    tasks: NDArray[np.int32]
    licences: NDArray[np.int32]
    publishers: NDArray[np.int32]
    memory: NDArray[np.int64]
    codes: dict[str, int]


def _columns(entries: Sequence[CatalogEntry]) -> _Columns:
    codes: dict[str, int] = {}

    def code(text: str) -> int:
        return codes.setdefault(text, len(codes)) if text else -1

    count = len(entries)
    return _Columns(
        formats=np.fromiter((_bits(e.formats, FORMATS) for e in entries), np.uint8, count),
        tier=np.fromiter((_bits((e.tier,), TIERS) if e.tier else 0 for e in entries), np.uint8, count),
        kind=np.fromiter((KINDS.index(e.kind) if e.kind else -1 for e in entries), np.int8, count),
        gated=np.fromiter((e.gated for e in entries), bool, count),
        tasks=np.fromiter((code(e.task) for e in entries), np.int32, count),
        licences=np.fromiter((code(e.licence.lower()) for e in entries), np.int32, count),
        publishers=np.fromiter((code(e.publisher.lower()) for e in entries), np.int32, count),
        memory=np.fromiter((rough_memory(e.parameters) for e in entries), np.int64, count),
        codes=codes,
    )


def _order(sort: Sort, entries: Sequence[CatalogEntry]) -> NDArray[np.float64]:
    count = len(entries)
    if sort == "name":  # entries lie in the order of their ids; the first counts most
        by_name = sorted(range(count), key=lambda row: entries[row].name.lower())
        ranks = np.empty(count)
        ranks[by_name] = np.arange(count, 0, -1)
        return ranks
    if sort in {"updated", "created"}:
        days = (e.updated if sort == "updated" else e.created for e in entries)
        return np.fromiter((int(day.replace("-", "")[:8] or 0) for day in days), np.float64, count)
    if sort == "relevance":
        known = np.fromiter((e.downloads + 50 * e.likes for e in entries), np.float64, count)
        built_in = np.fromiter((e.built_in for e in entries), np.float64, count)
        known = np.minimum(np.log1p(known) / np.log1p(1e8), 1.0)
        return np.asarray(0.35 * built_in + 0.6 * known, dtype=np.float64)
    fields = {"trending": "trending", "downloads": "downloads", "likes": "likes", "size": "parameters"}
    return np.fromiter((getattr(e, fields[sort]) for e in entries), np.float64, count)


def _bits(chosen: Iterable[str], among: Sequence[str]) -> int:
    return sum(1 << among.index(one) for one in set(chosen))


# Letter pairs: of neighbours and of letters with one between, so that two letters swapped still share some.


def _gram_table(text: NDArray[np.uint8], row_of: NDArray[np.int32], count: int) -> NDArray[np.uint64]:
    table = np.zeros(count * _GRAM_WORDS, dtype=np.uint64)
    letters = text.astype(np.int64)
    for gap in (1, 2):
        first, second = letters[:-gap], letters[gap:]
        # A pair ends before a break; "n/g" or "\nq" would tie two names together.
        inside = ~(_BREAKS[text[:-gap]] | _BREAKS[text[gap:]])
        if gap == 2:
            inside &= ~_BREAKS[text[1:-1]]
        bit = _hash(first[inside], second[inside])
        place = row_of[:-gap][inside].astype(np.int64) * _GRAM_WORDS + (bit >> 6)
        np.bitwise_or.at(table, place, np.uint64(1) << (bit & 63).astype(np.uint64))
    return table.reshape(count, _GRAM_WORDS)


def _grams_of(words: Sequence[bytes]) -> NDArray[np.uint64]:
    text = np.frombuffer(b"\n" + b"\n".join(words) + b"\n", dtype=np.uint8)
    table = _gram_table(text, np.zeros(len(text), dtype=np.int32), 1)
    return table.reshape(_GRAM_WORDS)


def _hash(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    return (first * 31 + second * 17 + (first * second >> 3)) % _GRAM_BITS


class _Alike:
    """Compares words, each pair once: names of models share most of theirs."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], float] = {}

    def of(self, typed: Sequence[str], name: str) -> float:
        """How alike the words typed are to the nearest ones of the name: 1 equal, 0 nothing shared; the mean."""
        parts = [part for part in _PIECES.split(name) if part]
        return sum(max(self._pair(word, part) for part in parts) for word in typed) / max(len(typed), 1)

    def _pair(self, word: str, part: str) -> float:
        known = self._known.get((word, part))
        if known is None:
            begin = part[: len(word) + 1]  # more may follow what was typed so far
            shared = len(set(begin) & set(word))  # an upper bound that costs little
            likely = 2 * shared >= len(set(word))
            known = SequenceMatcher(None, begin, word, autojunk=False).ratio() if likely else 0.0
            self._known[word, part] = known
        return known
