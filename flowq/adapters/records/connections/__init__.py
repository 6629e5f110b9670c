"""Connections: opened, checked, kept from a fork, and what their errors mean."""
