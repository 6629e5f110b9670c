"""The HTTP service: runs of every flow, over FastAPI; started by `flowq api`.

It has no state of its own: answers are read from rows and events. So any number of its processes
may start and stop at any time.
"""
