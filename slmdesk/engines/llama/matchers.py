"""JSON schemas and pieces of text as llguidance holds an answer to them: compiled, kept, one matcher an answer.

llguidance compiles what it is given only as far as an answer goes (derivatives of regular expressions, an Earley
parser), so counts cost nothing until they are reached, and its limits bound each step. What it does not bound is
refused in `schemas.py` before it gets here.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import llguidance
import numpy as np

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.schemas import prepared
from slmdesk.inference.asks import JsonSchema
from slmdesk.inference.schemas import schema_refused
from slmdesk.inference.wire import encoded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from slmdesk.engines.llama.sampling import Candidates
    from slmdesk.inference.asks import Pieces
    from slmdesk.llama.model import Model

_MOST_KEPT = 8  # compiled shapes of a model
_MOST_USES = 500  # answers that share what was compiled: the states they add to it stay until it is let go
_MOST_STATES = 100_000  # of a lexer; each takes up to 1 kB
_SPECIAL = b"\xff"  # before the text of a token that no text stands for
_WHITESPACE = (
    r"(?: |\n[ \t]{0,60})"  # between two tokens of JSON at most this: a model cannot go on with it for ever
)


class Matcher:
    """One answer's place in its shape. Used on one thread at a time."""

    __slots__ = ("_mask", "_matcher", "_tokenizer")

    def __init__(self, matcher: Any, tokenizer: Tokenizer) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._mask = np.zeros((tokenizer.native.vocab_size + 31) // 32, np.uint32)

    @property
    def ended(self) -> bool:
        """Whether the answer is complete, so that nothing but its end may come."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def take(self, token: int, _room: Candidates) -> bool:
        """Move on by this token; False, and nothing moved, where it may not come."""
        if self._matcher.try_consume_tokens([token]) == 1:
            return True
        return token in self._tokenizer.ends and bool(self._matcher.is_accepting())

    def allowed(self, _room: Candidates) -> NDArray[np.intp]:
        """The tokens that may come next, in order; none where there is none, or llguidance's limits are reached."""
        mask = self._mask
        try:
            self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        except ValueError:
            return np.zeros(0, np.intp)
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
        return bits[: self._tokenizer.tokens].nonzero()[0]

    def close(self) -> None:
        """Let go of what was compiled."""
        self._matcher = None


class Tokenizer:
    """A model's vocabulary as llguidance wants it: the bytes of each token, marked where they are no text.

    Made once a model: half a second and 20 MB for 49 000 tokens, two seconds and 100 MB for 262 000.
    """

    def __init__(self, model: Model) -> None:
        vocabulary = model.vocabulary_bytes()
        self.tokens = len(vocabulary)
        self.ends = frozenset(token for token, piece in enumerate(vocabulary) if piece is None)
        # By their text, the longest first: control tokens that readers see.
        self.shown = sorted(
            ((model.special_text(token), token) for token in model.shown), key=lambda pair: -len(pair[0])
        )
        for token in model.shown:
            vocabulary[token] = b""
        known = [text or _SPECIAL + str(token).encode() for token, text in enumerate(vocabulary)]
        ends = sorted(self.ends)
        wrapper: Any = _Wrapper(known, ends[0] if ends else None)
        self.native: Any = llguidance.LLTokenizer(
            wrapper,
            eos_token=ends or None,
            slices=llguidance.LLTokenizer.json_slices(),
        )


class _Wrapper:
    """The protocol by which llguidance reads a vocabulary that is not Hugging Face's."""

    is_tokenizer_wrapper = True
    special_token_ids: tuple[int, ...] = ()
    bos_token_id = None

    def __init__(self, tokens: list[bytes], end: int | None) -> None:
        self.tokens = tokens
        self.eos_token_id = end

    def __call__(self, text: bytes) -> list[int]:
        """Never asked: tokens are not forced (see `_OPTIONS`)."""
        raise NotImplementedError


# Of text that can only go one way, each way to cut it into tokens may come, as the model likes. To force one costs a
# look at all of that text, a megabyte of it for (a{1000}){1000}, at each token.
_OPTIONS = '%llguidance {"no_forcing": true}\n'


class Matchers:
    """What was compiled for one model. `matcher` may be called on any thread; one compiles at a time."""

    def __init__(self, model: Model) -> None:
        self._model = weakref.ref(model)
        self._lock = threading.Lock()
        self._tokenizer: Tokenizer | None = None
        self._kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()  # and how often each was given out

    def matcher(self, shape: JsonSchema | Pieces) -> Matcher:
        """A matcher at the beginning of an answer. Raises `SlmDeskError("schema_invalid")`."""
        key = hashlib.sha256(encoded(shape)).digest()
        with self._lock:
            if self._tokenizer is None:
                model = self._model()
                assert model is not None
                self._tokenizer = Tokenizer(model)
            compiled, uses = self._kept.pop(key, (None, 0))
            if compiled is None:
                compiled = _compiled(self._tokenizer, shape)
            if uses < _MOST_USES:
                self._kept[key] = compiled, uses + 1
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return Matcher(compiled.deep_copy(), self._tokenizer)


_of_models: weakref.WeakKeyDictionary[Model, Matchers] = weakref.WeakKeyDictionary()
_of_models_lock = threading.Lock()


def matchers_of(model: Model) -> Matchers:
    """What is kept for this model, made at the first call."""
    with _of_models_lock:
        return _of_models.setdefault(model, Matchers(model))


def _compiled(tokenizer: Tokenizer, shape: JsonSchema | Pieces) -> Any:
    limits = llguidance.LLParserLimits(
        max_lexer_states=_MOST_STATES, verbose_errors=False, precompute_large_lexemes=False
    )
    try:
        matcher = llguidance.LLMatcher(
            tokenizer.native, json.dumps(_grammar(tokenizer, shape)), log_level=0, limits=limits
        )
        if not matcher.is_error():
            _try(matcher.deep_copy())
    except SlmDeskError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise schema_refused(
            f"It cannot be compiled ({str(error)[:200] or type(error).__name__})."
        ) from error
    if matcher.is_error():
        raise _translated(matcher.get_error())
    return matcher


def _try(matcher: Any) -> None:
    """Raise `schema_invalid` where no answer can even be begun, as for a schema that refers to itself alone."""
    matcher.compute_bitmask()
    if matcher.is_error():
        raise schema_refused("It allows no answer.")


def _grammar(tokenizer: Tokenizer, shape: JsonSchema | Pieces) -> dict[str, Any]:
    """As llguidance reads it: a grammar in Lark's syntax first, then the schemas that it names."""
    schemas: list[JsonSchema] = []
    if isinstance(shape, JsonSchema):
        schemas.append(shape)
        rules = "start: @schema0\n"
    else:
        rules = _rules(tokenizer, shape, schemas)
    grammars: list[dict[str, Any]] = [{"lark_grammar": _OPTIONS + rules}]
    for number, schema in enumerate(schemas):
        options = {"whitespace_pattern": _WHITESPACE, "lenient": not schema.exact}
        definition = {**_definition(schema), "x-guidance": options}
        grammars.append({"name": f"schema{number}", "json_schema": definition})
    return {"grammars": grammars}


def _definition(schema: JsonSchema) -> dict[str, Any]:
    """What is compiled of a schema: where it need not be exact and all of it cannot be, its outermost type."""
    if schema.exact:
        return prepared(schema.definition, exact=True)
    try:
        definition = prepared(schema.definition, exact=False)
    except SlmDeskError:
        definition = {}
    text = json.dumps({"grammars": [{"json_schema": {**definition, "x-guidance": {"lenient": True}}}]})
    if definition and not llguidance.LLMatcher.validate_grammar(text):
        return definition
    return {"type": "object"} if schema.definition.get("type") == "object" else {}


def _rules(tokenizer: Tokenizer, pieces: Pieces, schemas: list[JsonSchema]) -> str:
    """The rules of these pieces; the schemas in them are added to `schemas` and named by their places there."""

    def row(items: Iterable[str | JsonSchema]) -> str:
        found = []
        for item in items:
            if isinstance(item, str):
                found.extend(_literal(tokenizer, item))
            else:
                found.append(f"@schema{len(schemas)}")
                schemas.append(item)
        return " ".join(found) or '""'

    # The choices stand alone, or behind the rest of `before` where the trigger is the beginning of it.
    trigger, before, cut = pieces.trigger, pieces.before, 0
    if trigger:
        cut = max(len(trigger) - len(before), 0)  # so much of each choice's first text is the trigger's
        before = before[len(trigger) :]
    lines = []
    for number, choice in enumerate(pieces.choices):
        begun = choice if not cut else (str(choice[0])[cut:], *choice[1:])
        lines.append(f"begun{number}: {row(begun)}")
        if cut and pieces.repeat:
            lines.append(f"choice{number}: {row(choice)}")
    numbers = range(len(pieces.choices))
    first = "(" + " | ".join(f"begun{number}" for number in numbers) + ")"
    other = "(" + " | ".join(f"choice{number}" for number in numbers) + ")" if cut else first
    more = f"({row([pieces.between])} {other})*" if pieces.repeat else ""
    whole = f"{row([before])} {first} {more} {row([pieces.after])}"
    if not trigger:
        return "\n".join([f"start: {whole}", *lines, ""])
    head = _literal(tokenizer, trigger)
    ways = "(head whole)* TEXT" if pieces.repeat else "TEXT | head whole"
    lines += [f"whole: {whole}", "TEXT: /(?s:.*)/"]
    if head[0].startswith("<["):  # a token that no text stands for
        lines.append(f"head: TEXT {' '.join(head)}")
    else:
        lines.append(f"begin[lazy]: TEXT {head[0]}\nhead: begin {' '.join(head[1:])}")
    return "\n".join([f"start: {ways}", *lines, ""])


def _literal(tokenizer: Tokenizer, text: str) -> list[str]:
    """As Lark's syntax has it, control tokens by their numbers."""
    if not text:
        return []
    parts = [text]
    if tokenizer.shown:
        parts = re.split("(" + "|".join(re.escape(shown) for shown, _ in tokenizer.shown) + ")", text)
    numbers = dict(tokenizer.shown)
    return [
        f"<[{numbers[part]}]>" if part in numbers else json.dumps(part, ensure_ascii=False)
        for part in parts
        if part
    ]


_UNKNOWN = re.compile(r"Unimplemented keys: \[(.*)\]")


def _translated(said: str) -> SlmDeskError:
    """llguidance's words as an error."""
    reason = next((line.strip() for line in reversed(said.splitlines()) if "rror:" in line), "")
    reason = reason or next((line.strip() for line in said.splitlines() if line.strip()), "")
    if keys := _UNKNOWN.search(reason):
        return schema_refused(f"It uses {keys[1].replace(chr(34), '')}, which cannot be enforced.")
    if reason.startswith("oneOf constraints"):
        return schema_refused("It uses oneOf with choices that may hold at once, which cannot be enforced.")
    return schema_refused(f"{reason[:1].upper()}{reason[1:300].rstrip('.')}.")
