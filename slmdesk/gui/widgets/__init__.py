"""The pieces every page is made of, each of them once. Import a piece from its module."""
