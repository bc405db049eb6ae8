"""Tools that need no server."""
