"""What is sent: step runs to workers, and the events of runs to readers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from flowq.core.events import Event
from flowq.core.ids import BatchId, RunId
from flowq.engine.model.rows import Batch, Message

#: The name of the task that advances runs, by which it is routed.
ADVANCE_TASK: Final = "flowq.advance"


@dataclass(frozen=True, slots=True)
class Worker:
    """A running worker, as it described itself."""

    name: str
    queues: frozenset[str]  #: The queues that it consumes.
    tasks: frozenset[str]  #: Names of registered tasks, among them steps and flows.


class Dispatcher(Protocol):
    """Sends step runs to workers. Messages may be lost or duplicated: the records are the truth."""

    def send(self, batches: Sequence[Batch]) -> None:
        """Send batches.

        Raises:
            BrokerUnavailable: nothing, or not everything, was sent.
        """

    def send_advance(
        self, batches: Sequence[BatchId], delay: timedelta | None = None, priority: int = 0
    ) -> None:
        """Ask a worker to advance these batches, now or after a delay; raises as `send`."""

    def send_collect(self) -> None:
        """Ask a worker to delete what is old; raises as `send`."""

    def send_schedules(self, due: Sequence[tuple[str, str]]) -> None:
        """Ask workers to start what is due of schedules; raises as `send`.

        Args:
            due: The name of each schedule, and of its flow: the request goes where that one's runs
                would go.
        """

    def send_requested(self, due: Sequence[tuple[str, str]]) -> None:
        """Ask workers to start requested runs; raises as `send`.

        Args:
            due: The id of each request, and the name of its flow.
        """

    def queue_of(self, message: Message) -> str:
        """Name of the queue that a message goes to."""

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue; raises as `send`."""

    def workers(self, patience: timedelta) -> Sequence[Worker] | None:
        """Ask for the running workers.

        Args:
            patience: Time limit for the answers.

        Returns:
            Those that answered in time; None where steps run in this process.

        Raises:
            BrokerUnavailable: they cannot be asked.
        """


class Wakeups(Protocol):
    """Requests for a pass of a sweeper now. They may be lost: a sweeper passes anyway."""

    def request(self) -> None:
        """Have one sweeper pass now.

        Raises:
            RedisUnavailable: none can be asked.
        """

    def wait(self, seconds: float) -> bool:
        """Return True as soon as there is a request, which is taken.

        False means that there was none; that may be said before the time is up.

        Raises:
            RedisUnavailable: requests cannot be read now.
        """


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """Events that were sent together."""

    id: str  #: Its place in the stream of its run.
    events: tuple[Event, ...]
    lost: bool = False  #: Earlier events are missing in the stream.


@dataclass(frozen=True, slots=True)
class StreamPage:
    """What was read of a run's stream."""

    entries: tuple[StreamEntry, ...]
    whole: bool = True  #: Whether the entry after which it was read still exists.


class Events(Protocol):
    """One stream of events for each run. Events may be lost: the records are the truth."""

    def now(self) -> datetime:
        """Return the time that an event published now has; it is for people."""

    def publish(self, kind: type[Event], run_id: RunId, **fields: Any) -> None:
        """Send an event soon; neither raises nor blocks. The run's end is sent immediately.

        It gets the present time. Publishing is cheap: events are validated when they are read, and
        invalid ones are left out.
        """

    def flush(self) -> None:
        """Send all pending events; called before a process ends. Never raises."""

    def read(self, run_id: RunId, after: str | None = None, wait: float = 0) -> StreamPage:
        """Read the stream of a run.

        Args:
            after: Id of the entry after which to read; None reads from the first.
            wait: Seconds to wait for an entry if there is none yet.

        Raises:
            RedisUnavailable: it cannot be read now.
        """

    def listening(self, run_id: RunId) -> AbstractContextManager[Callable[[float], None]]:
        """Yield a function that waits for the end of a run, up to a number of seconds.

        It may return too early, and never raises: read the row after it.
        """
