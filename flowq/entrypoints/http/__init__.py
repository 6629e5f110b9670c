"""The HTTP service: runs of every flow, over FastAPI; started by `flowq api`.

It keeps no state of its own: what a client sees is read from rows and events. So any number of its
processes may run, and end, at any time.
"""
