"""How flows are written in Python. Each way produces a `FlowSpec`."""
