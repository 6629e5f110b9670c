"""One attempt of a step: claim, load, run, store, complete; and all other ends of an attempt."""
