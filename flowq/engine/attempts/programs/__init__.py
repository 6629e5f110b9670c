"""One attempt of a program: it runs to its next wait or its end, and records what it calls."""
