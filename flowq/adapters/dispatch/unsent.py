"""What a process sends that knows no Celery app: nothing.

Which queue a step goes to is said by the app: its routes, its default queue, its broker. A process
without the app could only guess, and a message in a queue that nobody reads helps nobody. Messages
are doorbells only: what is queued is in the rows. So such a process queues rows that are due to
be sent at once, and wakes a sweeper, which sends them from a worker: that knows its app.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from typing_extensions import override

from flowq.core.errors import RedisUnavailable
from flowq.core.ids import BatchId
from flowq.engine.model.rows import Batch, Message
from flowq.engine.ports import Dispatcher, Wakeups, Worker

logger = logging.getLogger(__name__)

#: Begins the names of the step types that every worker knows.
_OWN: Final = "flowq."


class UnsentDispatcher(Dispatcher):
    """Implements `flowq.engine.ports.Dispatcher` by leaving all of it to the workers' sweepers."""

    def __init__(self, asks: Dispatcher, wakeups: Wakeups | None) -> None:
        self._asks = asks  # of the app that was made here: its broker may be that of the workers
        self._wakeups = wakeups
        self._said = self._failing = False

    @override
    def send(self, batches: Sequence[Batch]) -> None:
        """Leave batches to the sweepers."""
        # Documents have no module of the user's, and so no app of it.
        self._say(sum(not one.name.startswith(_OWN) for batch in batches for one in batch.messages))
        self._wake()

    @override
    def send_advance(
        self, batches: Sequence[BatchId], delay: timedelta | None = None, priority: int = 0
    ) -> None:
        """Leave the ends of batches to the sweepers."""
        self._wake()

    @override
    def send_collect(self) -> None:
        """Leave what is old to the sweepers."""

    @override
    def send_schedules(self, due: Sequence[tuple[str, str]]) -> None:
        """Leave schedules to the sweepers."""
        self._wake()

    @override
    def send_requested(self, due: Sequence[tuple[str, str]]) -> None:
        """Leave requested runs to the sweepers."""
        self._wake()

    @override
    def queue_of(self, message: Message) -> str:
        """Return the queue of a step that names one itself; of others nothing is known."""
        return message.queue or ""

    @override
    def depth(self, queue: str) -> int:
        return self._asks.depth(queue)

    @override
    def workers(self, patience: timedelta) -> Sequence[Worker] | None:
        return self._asks.workers(patience)

    def _wake(self) -> None:
        if self._wakeups is None:
            return  # without a Redis nobody can be asked; every sweeper passes anyway
        try:
            self._wakeups.request()
        except RedisUnavailable as error:
            if not self._failing:
                logger.warning(
                    "steps are sent in the next pass of a sweeper: %s. To send from here, name the "
                    "module with your app: flowq --app MODULE …, or FLOWQ_APP=MODULE",
                    error,
                )
            self._failing = True
        else:
            self._failing = False

    def _say(self, steps: int) -> None:
        if steps and not self._said:
            self._said = True
            logger.warning(
                "this process knows no Celery app, so the sweeper of a worker sends what it queues "
                "(%s). To send from here, import the module with your app, or name it on the "
                "command line: flowq --app MODULE …, or FLOWQ_APP=MODULE",
                "1 step" if steps == 1 else f"{steps:,} steps",
                extra={"action": "left_to_sweeper"},
            )
