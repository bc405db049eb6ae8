"""What exists elsewhere: the built-in list, hub search, model pages, and help to choose."""
