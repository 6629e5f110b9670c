"""Other engines beside flowq: each does the same work in an environment of its own."""
