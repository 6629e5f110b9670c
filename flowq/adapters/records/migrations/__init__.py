"""Migrations, and which revision a database has."""
