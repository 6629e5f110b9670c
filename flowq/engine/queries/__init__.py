"""What pages and lists show of runs; nothing in the engine uses it."""
