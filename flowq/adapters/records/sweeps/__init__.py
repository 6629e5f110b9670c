"""What the sweeper asks of the rows."""
