"""Run rows."""
