"""One attempt of a step: claim, load, run, store, complete; and every way in which it can end."""
