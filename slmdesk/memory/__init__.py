"""What loading a model takes, learned from what it took."""
