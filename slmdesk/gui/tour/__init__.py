"""The tour: the real window, driven as a person would, with a picture of each step.

It runs in a home of its own, so it touches nobody's conversations, and is the smoke test of a packaged program.
"""

from slmdesk.gui.tour.run import main

__all__ = ["main"]
