"""The Library place."""
