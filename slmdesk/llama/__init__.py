"""llama.cpp, as the child processes that load it use it. No parent imports anything from here."""
