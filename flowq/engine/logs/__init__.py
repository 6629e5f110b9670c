"""Reads what steps have logged."""
