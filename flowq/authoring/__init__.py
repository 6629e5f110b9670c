"""How flows are written, by now as `def` functions. Every way of it ends in a `FlowSpec`."""
