"""The sweeper's queries."""
