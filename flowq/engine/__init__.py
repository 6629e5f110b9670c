"""What happens to a run. Speaks to the world only through `ports`."""
