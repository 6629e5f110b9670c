"""The routes for the runs of every flow."""
