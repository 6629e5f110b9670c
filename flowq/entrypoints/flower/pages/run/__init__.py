"""The page of one run: its header, its tabs and its pictures."""
