"""What an answer must follow: GBNF as llama.cpp reads it here, JSON schemas and pieces of text in `matchers.py`."""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Grammar

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slmdesk.engines.llama.sampling import Candidates
    from slmdesk.inference.asks import Shape
    from slmdesk.llama.model import Model

_LARGEST_GRAMMAR = 256 * 1024  # characters; llama.cpp's parser recurses, so what it is given is bounded
_DEEPEST_GRAMMAR = 200  # nested parentheses
_HINT = "See llama.cpp's GBNF guide; a grammar needs a rule named root."

_stderr_lock = threading.Lock()


class Constraint(Protocol):
    """What may come next in one answer, and where it stands. Built on any thread, used on one.

    `room` is the worker's; what it holds is lost.
    """

    @property
    def ended(self) -> bool:
        """Whether the answer is complete, so that nothing but its end may come."""

    def take(self, token: int, room: Candidates) -> bool:
        """Move on by this token; False, and nothing moved, where it may not come."""

    def allowed(self, room: Candidates) -> NDArray[np.intp]:
        """The tokens that may come next, in order; empty where there is none."""

    def close(self) -> None:
        """Give back what it holds. No other call may follow."""


def build_constraint(model: Model, shape: Shape | None) -> Constraint | None:
    """What holds an answer to this shape, or None where there is none. The same schema is compiled once.

    Raises `SlmDeskError("grammar_invalid")` with the parser's reason, and `SlmDeskError("schema_invalid")`.
    """
    if shape is None or (isinstance(shape, Grammar) and not shape.text):
        return None
    if isinstance(shape, Grammar):
        return GbnfConstraint(model, shape.text)
    # A vocabulary takes seconds to read in, and most answers have no shape.
    from slmdesk.engines.llama.matchers import matchers_of

    return matchers_of(model).matcher(shape)


class GbnfConstraint:
    """A grammar in GBNF, by llama.cpp's own sampler. Raises `SlmDeskError("grammar_invalid")`."""

    ended = False  # llama.cpp says so by allowing only tokens that end an answer

    def __init__(self, model: Model, text: str) -> None:
        self._native = model.native
        self._sampler = ctypes.cast(_read(model, text), ctypes.c_void_p).value
        self._everything = np.arange(model.tokens, dtype=np.intp)

    def take(self, token: int, room: Candidates) -> bool:
        """Move on by this token; False, and nothing moved, where it may not come."""
        if not len(self._among(np.array([token], np.intp), room)):
            return False
        self._native.sampler_accept(self._sampler, token)
        return True

    def allowed(self, room: Candidates) -> NDArray[np.intp]:
        """The tokens that may come next, in order; empty where there is none."""
        return self._among(self._everything, room)

    def close(self) -> None:
        """Free llama.cpp's sampler."""
        if self._sampler:
            api = self._native.api
            api.llama_sampler_free(ctypes.cast(self._sampler, api.llama_sampler_p_ctypes))
        self._sampler = None

    def _among(self, tokens: NDArray[np.intp], room: Candidates) -> NDArray[np.intp]:
        """Those of these tokens that may come next."""
        room.load(tokens, np.ones(len(tokens), np.float32))
        self._native.sampler_apply(self._sampler, room.address)
        found: NDArray[np.intp] = tokens[np.isfinite(room.logits[: len(tokens)])]
        return found


def _read(model: Model, text: str) -> Any:
    """llama.cpp's grammar sampler of this text. Raises `SlmDeskError("grammar_invalid")`."""
    if "\0" in text:
        raise SlmDeskError("grammar_invalid", "The grammar is not text.", _HINT)
    if len(text) > _LARGEST_GRAMMAR or _depth(text) > _DEEPEST_GRAMMAR:
        raise SlmDeskError("grammar_invalid", "The grammar is too large or too deeply nested.", _HINT)
    api, data = model.native.api, text.encode("utf-8", "replace")
    sampler, said = _with_stderr(lambda: api.llama_sampler_init_grammar(model.vocabulary, data, b"root"))
    if not sampler:
        reason = _reason([line.strip() for line in said.splitlines() if line.strip()])
        raise SlmDeskError(
            "grammar_invalid", f"The grammar is not valid{reason}.", _HINT, details=said[:2000]
        )
    return sampler


def _reason(lines: list[str]) -> str:
    telling = [line for line in lines if "rror" in line or "ndefined" in line] or lines
    if not telling:
        return ""
    return f": {(telling[0].rpartition('grammar: ')[2] or telling[0])[:200]}"


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        if character == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif character == ")":
            depth -= 1
    return deepest


def _with_stderr(call: Callable[[], Any]) -> tuple[Any, str]:
    """Run `call` and return its result with what llama.cpp printed on stderr meanwhile.

    Its grammar parser says what is wrong only there.
    """
    with _stderr_lock, tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            result = call()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        file.seek(0)
        said = file.read(65536).decode(errors="replace")
    return result, said
