"""Only the one font that the window reads (release/contents.py names it), in place of all fonts of the package."""

datas: list = []
