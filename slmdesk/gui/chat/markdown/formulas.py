"""Formulas in an answer: their backslashes are LaTeX's, not Markdown's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.rules_core import StateCore

_LATEX = frozenset(
    "()[]{},;:"
)  # what models write behind a backslash in formulas, and hardly ever to escape it


def keep_backslashes(state: StateCore) -> None:
    r"""A rule of markdown-it, before escaped characters become plain text: `\(`, `\[`, `\,` … stay what they are."""
    for block in state.tokens:
        for token in block.children or ():
            if token.type == "text_special" and token.info == "escape" and token.content in _LATEX:
                token.content = token.markup
