"""The Downloads place."""
