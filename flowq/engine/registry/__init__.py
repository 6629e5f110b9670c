"""Step types and flows by name, and where each of them is defined."""
