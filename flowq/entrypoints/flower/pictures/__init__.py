"""Graphs and time lines as SVG."""
