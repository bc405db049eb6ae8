"""SLM Desk: a desktop application for small language models."""

__version__ = "0.1.0"

TITLE = "SLM Desk"
IDENTIFIER = "org.slmdesk.SLMDesk"
"""What desktops know the program by: bundle identifier, AppStream component, Windows' registry."""
