"""Telling the world what has happened."""
