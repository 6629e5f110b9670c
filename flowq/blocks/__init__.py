"""Documents of blocks and edges: compiled to a `FlowSpec`, and told in frames."""
