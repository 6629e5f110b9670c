"""The commands of `flowq blueprint`."""
