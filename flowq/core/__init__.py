"""The pure layer: values and decisions. No I/O, no clock, no randomness, no environment."""
