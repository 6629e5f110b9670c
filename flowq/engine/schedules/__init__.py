"""Schedules and requests: what starts runs where the code of their flow is not."""
