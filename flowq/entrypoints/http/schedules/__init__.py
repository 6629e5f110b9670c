"""Schedules over HTTP: list, add, change and remove them; their ticks and runs."""
