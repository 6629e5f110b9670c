"""Step types and flows by name, and where each one is defined."""
