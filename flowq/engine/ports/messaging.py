"""What goes out: step runs to workers, and the events of runs to those who look on."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from flowq.core.events import Event
from flowq.core.ids import BatchId, RunId
from flowq.engine.model.rows import (
    Batch,
    Message,
)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that runs now, as it has answered."""

    name: str
    queues: frozenset[str]  #: From which it takes messages.
    tasks: frozenset[str]  #: Names of steps and flows that it knows, among others.


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

    def workers(self, patience: timedelta) -> Sequence[Worker] | None:
        """Ask which workers run now.

        Args:
            patience: How long they have for their answers.

        Returns:
            Those that have answered in time; None where steps run in this very process.

        Raises:
            RedisUnavailable: they cannot be asked.
        """


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """Events that went out together."""

    id: str  #: Its place in the stream of its run.
    events: tuple[Event, ...]
    lost: bool = False  #: Events that were published before it are not in the stream.


@dataclass(frozen=True, slots=True)
class StreamPage:
    """What was read of a run's stream."""

    entries: tuple[StreamEntry, ...]
    whole: bool = True  #: Whether the entry after which it was read is still there.


class Events(Protocol):
    """One stream of events for each run. May lose any of them: the records are the truth."""

    def now(self) -> datetime:
        """Return the time that an event has which is published now; it is for people."""

    def publish(self, kind: type[Event], run_id: RunId, **fields: Any) -> None:
        """Let an event go out soon; neither raises nor waits. The run's end goes out at once.

        It gets the time of now. What publishes pays next to nothing: whether an event is right is
        seen when it is read, and one that is not is left out.

        Args:
            kind: Its class.
            run_id: Its run.
            fields: Its own fields.
        """

    def flush(self) -> None:
        """Send what has not gone out yet; before a process ends. Never raises."""

    def read(self, run_id: RunId, after: str | None = None, wait: float = 0) -> StreamPage:
        """Read the stream of a run.

        Args:
            run_id: The run.
            after: Id of the entry after which to read; None reads from the first.
            wait: Seconds to wait for an entry if there is none yet.

        Raises:
            RedisUnavailable: it cannot be read now.
        """

    def listening(self, run_id: RunId) -> AbstractContextManager[Callable[[float], None]]:
        """Give a function that waits for the end of a run, for so many seconds at most.

        It may return too early, and never raises: look at the row after it.
        """
