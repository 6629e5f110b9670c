"""The events of executions, and the bus that passes them on."""
