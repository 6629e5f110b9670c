"""Where a run moves on: asks the planner, writes what is next, sends batches."""
