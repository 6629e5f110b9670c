"""Decorators and classes that define step types and flows."""
