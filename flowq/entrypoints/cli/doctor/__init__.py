"""`flowq doctor`: checks of what flowq depends on, and of the rows of all runs."""
