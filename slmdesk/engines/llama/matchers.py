"""What holds an answer to its shape: JSON schemas, grammars and pieces of text, by llguidance.

It compiles what it is given only as far as an answer goes (derivatives of regular expressions, an Earley parser), so
counts cost nothing until they are reached, and its limits bound each step. What it does not bound is refused in
`schemas.py` and `gbnf.py` before it gets here. What was compiled is kept, and each answer has a matcher of its own.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import llguidance
import numpy as np

from slmdesk.engines.llama.shape_grammars import grammar_of, refusal
from slmdesk.inference.wire import encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from slmdesk.inference.asks import Shape
    from slmdesk.llama.model import Model

_MOST_KEPT = 8  # compiled shapes of a model
_MOST_USES = 500  # answers that share what was compiled: the states they add to it stay until it is let go
_LARGEST = 2 * 1024 * 1024  # bytes of a shape, as JSON
_MOST_STATES = 50_000  # of a lexer; each takes up to 1 kB
_SPECIAL = b"\xff"  # before the text of a token that no text stands for


class Matcher:
    """One answer's place in its shape. Used on one thread at a time."""

    __slots__ = ("_forget", "_mask", "_matcher", "_tokenizer")

    def __init__(self, matcher: Any, tokenizer: Tokenizer, forget: Callable[[], object]) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._forget = forget
        self._mask = np.zeros((tokenizer.native.vocab_size + 31) // 32, np.uint32)

    @property
    def ended(self) -> bool:
        """Whether the answer is complete, so that nothing but its end may come."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def take(self, token: int) -> bool:
        """Move on by this token; False, and nothing moved, where it may not come."""
        if self._matcher.try_consume_tokens([token]) == 1:
            return True
        return token in self._tokenizer.ends and bool(self._matcher.is_accepting())

    def take_all(self, tokens: Sequence[int]) -> bool:
        """Move on by all of these; False, and nothing moved, where they may not come."""
        if self._matcher.validate_tokens(list(tokens)) < len(tokens):
            return False
        return bool(self._matcher.try_consume_tokens(list(tokens)) == len(tokens))

    def allowed(self) -> NDArray[np.intp]:
        """The tokens that may come next, in order; none where there is none, or llguidance's limits are reached."""
        mask = self._mask
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if self._matcher.is_error():  # it would let the end of the answer through
            mask[:] = 0
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
        allowed = bits[: self._tokenizer.tokens].nonzero()[0]
        if not len(allowed):
            self._forget()  # what reached a limit would stay there for all who share it
        return allowed

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
        self.shown = {model.special_text(token): token for token in model.shown}
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
        """Never asked, as no tokens are forced (see `shape_grammars.py`)."""
        raise NotImplementedError


class Matchers:
    """What was compiled for one model. `matcher` may be called on any thread; one compiles at a time."""

    def __init__(self, model: Model) -> None:
        self._model = weakref.ref(model)
        self._lock = threading.Lock()
        self._tokenizer: Tokenizer | None = None
        self._kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()  # and how often each was given out

    def matcher(self, shape: Shape) -> Matcher:
        """A matcher at the beginning of an answer. Raises `SlmDeskError("grammar_invalid")` or `schema_invalid`."""
        data = encoded(shape)
        if len(data) > _LARGEST:
            raise refusal(shape, f"it has {len(data)} bytes; {_LARGEST} are allowed")
        key = hashlib.sha256(data).digest()
        model = self._model()
        assert model is not None
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = Tokenizer(model)
            compiled, uses = self._kept.pop(key, (None, 0))
            if compiled is None:
                compiled = _compiled(self._tokenizer, shape, model.token_of)
            if uses < _MOST_USES:
                self._kept[key] = compiled, uses + 1
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return Matcher(compiled.deep_copy(), self._tokenizer, lambda: self._kept.pop(key, None))


_of_models: weakref.WeakKeyDictionary[Model, Matchers] = weakref.WeakKeyDictionary()
_of_models_lock = threading.Lock()


def matchers_of(model: Model) -> Matchers:
    """What is kept for this model, made at the first call."""
    with _of_models_lock:
        return _of_models.setdefault(model, Matchers(model))


def _compiled(tokenizer: Tokenizer, shape: Shape, token_of: Callable[[str], int]) -> Any:
    limits = llguidance.LLParserLimits(
        max_lexer_states=_MOST_STATES, verbose_errors=False, precompute_large_lexemes=False
    )
    grammar = grammar_of(shape, tokenizer.shown, token_of)
    try:
        matcher = llguidance.LLMatcher(tokenizer.native, grammar, log_level=0, limits=limits)
        said = matcher.get_error() or _nothing_allowed(matcher)
    except BaseException as error:
        if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":  # of Rust
            raise
        said = str(error) or type(error).__name__
    if said:
        raise refusal(shape, said)
    return matcher


def _nothing_allowed(matcher: Any) -> str:
    """Why no answer can even be begun, as with a schema that refers to itself alone; empty where one can."""
    trial = matcher.deep_copy()
    trial.compute_bitmask()
    return "it allows no answer" if trial.is_error() else ""
