"""The memory forecast of one file: one stacked bar against this machine's memory, with the sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.gui.widgets.memory_bar import MemoryBar, Part

if TYPE_CHECKING:
    from slmdesk.memory.fit import Fit
    from slmdesk.memory.offload import Split

PARTS = (
    ("Weights", "weights_bytes", "accent"),
    ("KV cache", "kv_bytes", "good"),
    ("Compute", "compute_bytes", "caution"),
    ("Overhead", "overhead_bytes", "control"),
)


class ForecastView(MemoryBar):
    """Shows a `Fit`."""

    def show_fit(self, fit: Fit, memory_total: int) -> None:
        """Draw the forecast on top of what the rest of the machine uses now."""
        expected = fit.forecast
        # The bar is this machine's memory: what a GPU with memory of its own takes does not lie there.
        own = fit.split.on_machine(expected.context) if fit.split is not None else expected
        parts = [Part(name, getattr(own, field), colour) for name, field, colour in PARTS]
        used = max(0, memory_total - fit.available_bytes)
        self.show_parts(parts, used=used, total=memory_total, sentence=sum_words(fit))


def sum_words(fit: Fit) -> str:
    """The sum as a sentence, the verdict's reason, and how good the last forecast was."""
    expected = fit.forecast
    terms = " + ".join(
        f"{name[0].lower() + name[1:] if name != 'KV cache' else name} {amounts.size(getattr(expected, field))}"
        for name, field, _ in PARTS
    )
    words = f"{terms[0].upper()}{terms[1:]} = {amounts.size(expected.total_bytes)}"
    words += (
        f" at a context of {expected.context:,} tokens. {amounts.size(fit.available_bytes)} are free now."
    )
    if expected.prefix_bytes:
        words += f" Conversations that leave the context may take up to {amounts.size(expected.prefix_bytes)} more."
    if fit.split is not None:
        words += f" {gpu_words(fit.split)}"
    if fit.verdict == "too_big" and fit.max_context:
        words += f" A context of {fit.max_context:,} would fit."
    if expected.error is not None:
        words += f" The last forecast on this machine was {abs(expected.error):.0%} off."
    return words


def gpu_words(split: Split) -> str:
    """What the graphics card takes over, as a sentence."""
    taken, free = amounts.size(split.device.total_bytes), amounts.size(split.free_bytes)
    layers = "all of it" if split.whole else f"{split.layers} of its {split.of} layers"
    shared = ", of the same memory" if split.shared else f" of {free} free there"
    rest = amounts.size(split.processor.total_bytes)
    return f"The graphics card takes {layers}: {taken}{shared}. {rest} stay with the processor."
