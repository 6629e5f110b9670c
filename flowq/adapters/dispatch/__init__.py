"""Sending step runs to workers."""
