"""Bring a model here: plan, reserve space, transfer, resume, check, hand to the library."""
