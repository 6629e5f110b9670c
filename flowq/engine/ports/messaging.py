"""What goes out: step runs to workers, and the news that a run has ended."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import BatchId, RunId
from flowq.engine.rows import (
    Batch,
    Message,
)


class Dispatcher(Protocol):
    """Sends step runs to workers. May lose or double what it sends: the records are the truth."""

    def send(self, batches: Sequence[Batch]) -> None:
        """Send batches.

        Raises:
            RedisUnavailable: nothing, or not everything, was sent.
        """

    def send_advance(self, batches: Sequence[BatchId], delay: timedelta | None = None) -> None:
        """Ask a worker to advance these batches, perhaps after a while; raises as `send`."""

    def send_collect(self) -> None:
        """Ask a worker to delete what is old; raises as `send`."""

    def queue_of(self, message: Message) -> str:
        """Name of the queue that a message goes to."""

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue; raises as `send`."""


class Events(Protocol):
    """Wakes those who wait. May stay silent: the records are the truth."""

    def run_ended(self, run_id: RunId) -> None:
        """Wake whoever waits for a run; never raises."""

    def listening(self, run_id: RunId) -> AbstractContextManager[Callable[[float], None]]:
        """Give a function that waits for the end of a run, for so many seconds at most."""
