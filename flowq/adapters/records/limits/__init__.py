"""Slots, rates of tokens, and meters of budgets."""
