"""A playbook as a durable program: its calls are steps, its state is its record."""
