"""The engine that runs llama.cpp: one child process a model. Only that child imports anything from here."""
