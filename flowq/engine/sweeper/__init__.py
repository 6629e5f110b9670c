"""The periodic pass: finds what was lost or is due, and advances it."""
