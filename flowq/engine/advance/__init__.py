"""Advances a run: asks the planner, writes what is next, sends batches."""
