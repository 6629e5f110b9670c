"""The ways into flowq: workers, the command line, Flower, HTTP."""
