"""Real clients of other people against a real service: each module is one client, each function one thing it does."""
