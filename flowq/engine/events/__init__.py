"""Events of runs: published, followed, and rebuilt from rows."""
