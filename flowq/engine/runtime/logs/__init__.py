"""What attempts log: cut into bunches, and written by a thread."""
