"""Grammars that an answer must follow: GBNF as llama.cpp reads it, and JSON schemas turned into GBNF."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Grammar
from slmdesk.llama.binding import bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.inference.asks import Shape
    from slmdesk.llama.model import Model

_LARGEST_GRAMMAR = 256 * 1024  # characters; llama.cpp's parser recurses, so what it is given is bounded
_DEEPEST_GRAMMAR = 200  # nested parentheses
_HINT = "See llama.cpp's GBNF guide; a grammar needs a rule named root."

_stderr_lock = threading.Lock()


def build_grammar(model: Model, shape: Shape | None) -> Any:
    """llama.cpp's grammar sampler for this shape, or None where there is none.

    Raises `SlmDeskError("grammar_invalid")` with the parser's reason, and `SlmDeskError("schema_invalid")`.
    """
    if shape is None:
        return None
    text = shape.text if isinstance(shape, Grammar) else schema_grammar(shape.definition)
    if not text:
        return None
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


def schema_grammar(schema: dict[str, Any]) -> str:
    """A GBNF grammar that only lets JSON of this schema through. Raises `SlmDeskError("schema_invalid")`."""
    bind()
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        return str(json_schema_to_gbnf(json.dumps(schema)))
    except Exception as error:  # the converter raises whatever a strange schema leads it to
        raise SlmDeskError(
            "schema_invalid",
            f"The JSON schema cannot be turned into a grammar: {str(error) or type(error).__name__}.",
            "Use a simpler schema, without references to other documents.",
        ) from error


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
