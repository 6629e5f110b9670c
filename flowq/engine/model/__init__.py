"""The values that cross the ports."""
