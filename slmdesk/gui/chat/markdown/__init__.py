"""Markdown as it streams: text to blocks, without Qt and without ever rendering HTML or fetching an image."""
