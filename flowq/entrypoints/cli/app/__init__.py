"""Which app, flow, settings and inputs a command works with."""
