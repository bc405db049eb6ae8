"""markdown-it's inline tokens to spans."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from slmdesk.gui.chat.markdown.blocks import Inline, Span, safe_href

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

_OPENS = {"strong_open": "bold", "em_open": "italic", "s_open": "strike"}
_CLOSES = {"strong_close": "bold", "em_close": "italic", "s_close": "strike"}
LONG_ADDRESS = 2000  # characters
_BREAK = re.compile(r" ?<br\s*/?> ?", re.IGNORECASE)  # the one tag that Markdown's tables need
_BARE = re.compile(r"https?://[^\s<>\"'`]+[^\s<>\"'`.,;:!?)\]}*_]")


def spans_of(tokens: Sequence[Token]) -> Inline:
    """The runs of one inline token's children, neighbours in one style joined."""
    depth = {"bold": 0, "italic": 0, "strike": 0}
    hrefs: list[str] = []
    bare: list[str] = []  # beside each href: the address as it was written, where it is no link
    runs: list[Span] = []
    for token in tokens:
        kind = token.type
        if kind in _OPENS:
            depth[_OPENS[kind]] += 1
        elif kind in _CLOSES:
            depth[_CLOSES[kind]] -= 1
        elif kind == "link_open":
            written = str(token.attrGet("href") or "")
            hrefs.append(safe_href(written))
            bare.append("" if hrefs[-1] else written)
        elif kind == "link_close":
            hrefs.pop()
            runs.append(_beside(bare.pop()))
        else:
            style = Span(
                "",
                bold=depth["bold"] > 0,
                italic=depth["italic"] > 0,
                strike=depth["strike"] > 0,
                href=hrefs[-1] if hrefs else "",
            )
            runs.extend(_leaf(token, style))
    return join_runs(runs)


def _leaf(token: Token, style: Span) -> list[Span]:
    if token.type == "code_inline":
        return [replace(style, text=token.content, code=True)]
    if token.type in {"softbreak", "hardbreak"}:
        return [replace(style, text="\n")]
    if token.type == "image":
        # Never fetched: an answer must not make this machine call another one.
        source = str(token.attrGet("src") or "")
        shown = replace(style, text=token.content or source, href=style.href or safe_href(source))
        return [shown] if shown.href or not token.content else [shown, _beside(source)]
    text = _BREAK.sub("\n", token.content) if "<" in token.content else token.content
    if style.href or "://" not in text:
        return [replace(style, text=text)]
    return _with_bare_links(text, style)


def _beside(address: str) -> Span:
    """An address that nothing is opened for stands behind its words: it may be all that was meant."""
    if len(address) > LONG_ADDRESS:
        address = address[: LONG_ADDRESS - 1] + "…"  # a picture spelled out
    return Span(f" ({unquote(address)})" if address else "")


def plain_spans(text: str) -> Inline:
    """Text in which only bare addresses mean anything."""
    return join_runs(_with_bare_links(text, Span("")))


def _with_bare_links(text: str, style: Span) -> list[Span]:
    runs: list[Span] = []
    at = 0
    for found in _BARE.finditer(text):
        runs.append(replace(style, text=text[at : found.start()]))
        runs.append(replace(style, text=found.group(), href=found.group()))
        at = found.end()
    runs.append(replace(style, text=text[at:]))
    return runs


def join_runs(runs: Sequence[Span]) -> Inline:
    """Neighbours in the same style as one run; empty ones dropped."""
    joined: list[Span] = []
    for run in runs:
        if not run.text:
            continue
        last = joined[-1] if joined else None
        if last is not None and replace(last, text="") == replace(run, text=""):
            joined[-1] = replace(run, text=last.text + run.text)
        else:
            joined.append(run)
    return tuple(joined)
