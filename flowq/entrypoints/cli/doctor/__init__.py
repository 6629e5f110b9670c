"""`flowq doctor`: checks of what flowq stands on, and of the rows of all runs."""
