"""Limits, token rates and budgets, as specifications."""
