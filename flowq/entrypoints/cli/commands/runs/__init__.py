"""The commands of `flowq runs`."""
