"""Schedules: declared or added, paused and resumed, and started when a tick is due."""
