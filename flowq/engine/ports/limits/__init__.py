"""The ports of limits, budgets and rates of tokens."""
