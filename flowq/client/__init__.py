"""The client: runs, their events, and starting them."""

from flowq.client.events import RunEvents
from flowq.client.run import Run
from flowq.client.submitting import asubmit, asubmit_many, execute, submit, submit_many

__all__ = [
    "Run",
    "RunEvents",
    "asubmit",
    "asubmit_many",
    "execute",
    "submit",
    "submit_many",
]
