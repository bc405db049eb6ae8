"""The body of a message: blocks laid out and painted in one widget, with one selection across all of them."""
