"""Log probabilities as the OpenAI API writes them, in its two forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.inference.answers import Alternative, TokenLogprobs


def chat_logprobs(tokens: Sequence[TokenLogprobs]) -> dict[str, Any]:
    """`logprobs` of a chat completion's choice."""
    return {
        "content": [
            {**_entry(token.chosen), "top_logprobs": [_entry(one) for one in token.likeliest]}
            for token in tokens
        ],
        "refusal": None,
    }


def text_logprobs(tokens: Sequence[TokenLogprobs], offset: int = 0) -> tuple[dict[str, Any], int]:
    """`logprobs` of a text completion's choice, and the offset behind its last token.

    `offset`: characters of the text before the first token.
    """
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.chosen.text)
    found = {
        "tokens": [_name(token.chosen) for token in tokens],
        "token_logprobs": [token.chosen.logprob for token in tokens],
        "top_logprobs": [
            None if token.chosen.logprob is None else {_name(one): one.logprob for one in token.likeliest}
            for token in tokens
        ],
        "text_offset": offsets,
    }
    return found, offset


def _entry(one: Alternative) -> dict[str, Any]:
    return {"token": one.text, "logprob": one.logprob, "bytes": list(one.raw)}


def _name(one: Alternative) -> str:
    """A token as text; bytes that are no text are spelled out, as that API does it."""
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in one.data) if one.data else one.text
