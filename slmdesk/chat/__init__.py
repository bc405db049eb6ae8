"""Conversations as trees."""
