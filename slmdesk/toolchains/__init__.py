"""Isolated Python environments for heavy converters: made when first needed, checkable, removable."""
