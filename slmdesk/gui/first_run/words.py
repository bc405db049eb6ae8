"""What the page of a first start says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core import amounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.catalog.advise import Advice
    from slmdesk.core.hardware import Gpu
    from slmdesk.library.new_folder import Room

BUILT_IN = (
    "The tiny model that came with the program. It answers at once and without a network, knows small models and "
    "this program, and little else."
)
STARTER = (
    "A small general model that came with the program. It answers at once and without a network; short, plain "
    "questions suit it best. Desk Guide, which is here too, answers what you ask about SLM Desk."
)
NOTHING_FITS = "No model of the built-in list fits into the memory and disk space that are free now."


def machine(total: int, available: int, physical: int, gpus: Sequence[Gpu] | None) -> str:
    """The hardware in one line. Sizes in bytes; `gpus` None while they are looked for."""
    parts = []
    if total:
        parts.append(f"{amounts.size(total)} of memory, {amounts.size(available)} of it free")
    if physical:
        parts.append(amounts.counted(physical, "core"))
    if gpus is None:
        parts.append("looking for graphics…")
    else:
        parts += [_graphics(gpu) for gpu in gpus] or ["no graphics processor to compute with"]
    return " · ".join(parts)


def _graphics(gpu: Gpu) -> str:
    return f"{gpu.name}, {amounts.size(gpu.memory_total)}" if gpu.memory_total else gpu.name


def room(found: Room) -> str:
    """Free space of a disk."""
    return f"{amounts.size(found.free)} free of {amounts.size(found.total)} on this disk"


def facts(advice: Advice) -> str:
    """What is downloaded: parameters, quant, size, licence."""
    known = (
        amounts.parameters(advice.model.parameters),
        advice.quant,
        f"about {amounts.size(advice.weights_bytes)} to download",
        advice.model.licence,
    )
    return " · ".join(part for part in known if part)


def reasons(advice: Advice) -> str:
    """Why this one, in sentences."""
    parts = [part.rstrip(".") for part in advice.reasons if part]
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts)


def recommended(found: Sequence[Advice], free: int) -> Advice | None:
    """The best advice that needs no account on the hub and fits into `free` bytes of disk."""
    return next((one for one in found if not one.model.gated and one.weights_bytes < free), None)
