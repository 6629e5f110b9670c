"""The routes of workflows."""
