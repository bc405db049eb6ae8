"""How this program came onto the machine, and what mends it when a part of it is missing."""

from __future__ import annotations

import sys


def is_frozen() -> bool:
    """Whether this is the installed program, which brings everything along, and not Python with a checkout."""
    return bool(getattr(sys, "frozen", False))


def set_up_again() -> str:
    """The hint for a part of the program that is missing or cannot be loaded."""
    if is_frozen():
        return "Install SLM Desk again with its installer. Your models, chats and settings stay."
    return "Set the program up again: python3 packaging/bootstrap.py run"


def gpu_support() -> str:
    """The hint for a GPU that this build has no part for."""
    if is_frozen():
        return "Install SLM Desk again with its installer, which brings GPU support."
    return "To use it, install its Vulkan driver and run: python3 packaging/bootstrap.py gpu"


def window_libraries() -> str:
    """The hint for a window that cannot be loaded."""
    if is_frozen():
        return set_up_again()
    return "Install the libraries Qt needs; packaging/bootstrap.py does it."
