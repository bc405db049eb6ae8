"""Readers of model file headers."""
