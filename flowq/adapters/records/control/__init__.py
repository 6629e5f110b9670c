"""What users do with a run while it runs: cancel, pause, signals."""
