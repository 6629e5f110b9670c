"""Text that people read, and JSON that databases keep."""
