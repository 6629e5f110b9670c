"""Connections: opening, checks, safety under forks, and the meaning of errors."""
