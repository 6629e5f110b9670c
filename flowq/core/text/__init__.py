"""Text for people, and JSON for databases."""
