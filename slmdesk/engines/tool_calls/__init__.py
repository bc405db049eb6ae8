"""How models call tools: what they are told, what they write, and what is read from it."""
