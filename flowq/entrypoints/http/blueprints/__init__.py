"""The routes of blueprints and their instances."""
