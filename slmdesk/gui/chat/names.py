"""How models are called on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.library.shipped import BUILT_IN, STARTER

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BUILT_IN", "STARTER", "short_name", "split_id"]


def split_id(model_id: str) -> tuple[str, str]:
    """A library id as (id without quant, quant); the quant may be ""."""
    name, _, quant = model_id.partition(":")
    return name, quant


def short_name(model_id: str, titles: Mapping[str, str] | None = None) -> str:
    """The name a person knows a model by, with its quant: "Qwen3-4B Q4_K_M".

    `titles` has the ids that the library knows; of others the name is made from the id itself.
    """
    known = (titles or {}).get(model_id)
    if known:
        return known
    name, quant = split_id(model_id)
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{'Desk Guide' if name == BUILT_IN else last} {quant}".strip()
