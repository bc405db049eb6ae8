"""From texts, and from questions with documents, to the tokens that a model of texts is given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import bad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.inference.vectors import EmbedAsk, Passage, RankAsk
    from slmdesk.llama.model import Model

_SLOT = re.compile(r"(\{query\}|\{document\})")

Cut = tuple[list[list[int]], list[int]]
"""The tokens of each text, and which texts were cut."""


class Passages:
    """Makes the prompts for one model, which takes `limit` tokens of a text."""

    def __init__(self, model: Model, limit: int, trained: int) -> None:
        self._model = model
        self._limit = limit
        self._trained = trained
        self._template = model.chat_template("rerank")

    def to_embed(self, ask: EmbedAsk) -> Cut:
        """Raises `SlmDeskError`: `bad_request` for a text of no token, `context_exceeded` for one that is too long and
        not to be cut."""
        found: list[list[int]] = []
        cut: list[int] = []
        for place, passage in enumerate(ask.passages):
            tokens = self._tokens(passage, place)
            if len(tokens) > self._limit:
                if not ask.truncate:
                    raise self._too_long(f"Text {place + 1}", len(tokens))
                tokens = self._shorter(tokens)
                cut.append(place)
            found.append(tokens)
        return found, cut

    def to_rank(self, ask: RankAsk) -> Cut:
        """The question with each document. Raises as `to_embed`."""
        found: list[list[int]] = []
        cut: list[int] = []
        for place, document in enumerate(ask.documents):
            tokens = self._pair(ask.query, document)
            over = len(tokens) - self._limit
            if over > 0:
                if not ask.truncate:
                    raise self._too_long(f"The query with document {place + 1}", len(tokens))
                tokens = self._pair_cut(ask.query, document)
                cut.append(place)
            if not tokens:
                raise bad(f"Document {place + 1} and the query are empty.")
            found.append(tokens)
        return found, cut

    def _tokens(self, passage: Passage, place: int) -> list[int]:
        """A program's own tokens are taken as they are; a text gets what the file wants around it, and control tokens
        in it are text."""
        model = self._model
        if isinstance(passage, str):
            tokens = model.tokenize(passage, special=False, whole=True)
        else:
            tokens = list(passage)
            if any(not 0 <= token < model.tokens for token in tokens):
                raise bad(
                    f"Text {place + 1} holds a token that the model does not have; it has {model.tokens}."
                )
        if not tokens:
            raise bad(f"Text {place + 1} is empty.")
        return tokens

    def _shorter(self, tokens: list[int]) -> list[int]:
        """The first ones, with the mark of the end where there was one."""
        kept = tokens[: self._limit]
        if tokens[-1] in {self._model.eos, self._model.sep}:
            kept[-1] = tokens[-1]
        return kept

    def _pair(self, query: str, document: str) -> list[int]:
        """As llama-server writes it, but for one thing: control tokens in the texts stay text."""
        model = self._model
        if self._template is None:
            return self._joined(model.tokenize(query, special=False), model.tokenize(document, special=False))
        if any(mark in query or mark in document for mark in model.special_texts):
            return self._in_template(query, model.tokenize(document, special=False))
        texts = {"{query}": query, "{document}": document}
        text = "".join(texts.get(part, part) for part in _SLOT.split(self._template))
        return model.tokenize(text, special=True)

    def _pair_cut(self, query: str, document: str) -> list[int]:
        """The same with as much of the document as there is room for. Raises `context_exceeded` without any room."""
        model = self._model

        def pair(tokens: Sequence[int]) -> list[int]:
            if self._template is None:
                return self._joined(model.tokenize(query, special=False), tokens)
            return self._in_template(query, tokens)

        around = len(pair(()))
        if around >= self._limit:
            raise self._too_long("The query alone", around)
        return pair(model.tokenize(document, special=False)[: self._limit - around])

    def _in_template(self, query: str, document: Sequence[int]) -> list[int]:
        tokens: list[int] = []
        for part in _SLOT.split(self._template or ""):
            if part == "{document}":
                tokens += document
            elif part == "{query}":
                tokens += self._model.tokenize(query, special=False)
            else:
                tokens += self._model.tokenize(part, special=True)
        return tokens

    def _joined(self, query: Sequence[int], document: Sequence[int]) -> list[int]:
        """`<s> query </s></s> document </s>`, or `[CLS] query [SEP] document [SEP]`: as the file has its marks."""
        model = self._model
        eos = model.eos if model.eos >= 0 else model.sep
        begin = [model.bos] if model.add_bos else []
        between = [*([eos] if model.add_eos else []), *([model.sep] if model.add_sep else [])]
        end = [eos] if model.add_eos else [model.sep] if model.add_sep else []
        return [token for token in (*begin, *query, *between, *document, *end) if token >= 0]

    def _too_long(self, what: str, count: int) -> SlmDeskError:
        longer = " The model was made for more: set a longer context." if self._limit < self._trained else ""
        return SlmDeskError(
            "context_exceeded",
            f"{what} has {count} tokens; the model takes {self._limit}.",
            f"Send less text, or let it be cut with “truncate”.{longer}",
        )
