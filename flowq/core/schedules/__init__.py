"""Schedules as data: their rules, their ticks, and what follows when a tick is due. Pure."""
