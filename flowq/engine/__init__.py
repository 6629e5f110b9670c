"""The life of a run. Uses the outside world only through `ports`."""
