"""We call the world: one folder per port, one file per vendor."""
