"""What is measured of one answer, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core import amounts

if TYPE_CHECKING:
    from slmdesk.chat.tree import Message

_ENDS = {
    "stop": "ended by itself",
    "length": "reached the most tokens it may have",
    "tool_calls": "called a tool",
    "cancelled": "stopped",
}
_STATES = {"stopped": "stopped by you", "interrupted": "cut off", "failed": "failed"}
HERE = "on this machine"


def figures_line(message: Message) -> str:
    """The line below an answer: "128 tokens · 42 tokens/s · first after 0.3 s"; "" where nothing was measured."""
    usage, timings = message.stats.get("usage") or {}, message.stats.get("timings") or {}
    words = []
    if tokens := int(usage.get("completion_tokens") or 0):
        words.append(amounts.counted(tokens, "token"))
    if rate := float(timings.get("tokens_per_s") or 0.0):
        words.append(f"{_rate(rate)} tokens/s")
    if first := float(timings.get("first_token_s") or 0.0):
        words.append(f"first after {_seconds(first)}")
    return " · ".join(words)


def figures_table(message: Message, name: str) -> list[tuple[str, str]]:
    """All that is known, as names and values. `name`: what the model is called, with its quant."""
    stats = message.stats
    usage, timings = stats.get("usage") or {}, stats.get("timings") or {}
    prompt, cached = int(usage.get("prompt_tokens") or 0), int(usage.get("cached_tokens") or 0)
    rows = [("Model", name), ("Written", str(stats.get("made_at") or HERE))]
    if tokens := int(usage.get("completion_tokens") or 0):
        rows.append(("Answer", amounts.counted(tokens, "token")))
    if rate := float(timings.get("tokens_per_s") or 0.0):
        rows.append(("Speed", f"{_rate(rate)} tokens/s"))
    if first := float(timings.get("first_token_s") or 0.0):
        rows.append(("First token", f"after {_seconds(first)}"))
    if thought := float(stats.get("reasoning_s") or 0.0):
        rows.append(("Thought", f"for {_seconds(thought)}"))
    if prompt:
        known = f", {cached:,} of them known from before" if cached else ""
        rows.append(("Prompt", f"{amounts.counted(prompt, 'token')}{known}"))
    if context := int(stats.get("context_length") or 0):
        rows.append(("Context", f"{prompt + tokens:,} of {context:,} tokens"))
    if dropped := int(stats.get("trimmed_turns") or 0):
        rows.append(("Left out", amounts.counted(dropped, "turn")))
    ended = _STATES.get(message.state) or _ENDS.get(str(stats.get("reason") or ""), "")
    if ended:
        rows.append(("End", ended))
    return rows


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _seconds(seconds: float) -> str:
    return (
        f"{seconds * 1000:.0f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
        if seconds < 60
        else amounts.took(seconds)
    )
