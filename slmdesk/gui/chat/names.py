"""How models are called on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT_IN = "slmdesk/desk-guide"


def split_id(model_id: str) -> tuple[str, str]:
    """A library id as (id without quant, quant); the quant may be ""."""
    name, _, quant = model_id.partition(":")
    return name, quant


def short_name(model_id: str, names: Mapping[str, str] | None = None) -> str:
    """The name a person knows a model by, with its quant: "Qwen3-4B Q4_K_M"."""
    name, quant = split_id(model_id)
    known = (names or {}).get(name, "")
    if not known:
        known = "Desk Guide" if name == BUILT_IN else name.rsplit("/", 1)[-1].rsplit("\\", 1)[-1]
    return f"{known} {quant}".strip()
