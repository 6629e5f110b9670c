"""The pure floor: values and decisions. No I/O, no clock, no randomness, no environment."""
