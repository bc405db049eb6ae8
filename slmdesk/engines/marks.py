"""Marks in text that is still being written."""

from __future__ import annotations


def overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that `mark` begins with, shorter than `mark`: what may become it."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:n])), 0)
