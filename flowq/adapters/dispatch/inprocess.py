"""Workers without Celery: what is sent is kept, and run in the calling thread when asked to.

For tests, also users' own, and for simulations: a whole flow runs on SQLite with neither broker
nor worker, and in any order of deliveries that a seed makes.

    dispatcher = InProcessDispatcher()
    engine = Engine(..., dispatcher=dispatcher)
    run_id = submit(engine, my_flow.type, {"folder": "src"})
    dispatcher.run(engine)

It behaves as the Celery worker does: members of a joined batch leave advancing to the batch's end,
which is a delivery of its own; a retry comes when it is due; a message that finds nothing to claim
does nothing; a step that is not defined here is left for a worker that knows it.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from typing_extensions import override

from flowq.core.ids import BatchId, RunId
from flowq.engine.advance.after import batch_ended, not_claimed
from flowq.engine.attempts.following import run_following
from flowq.engine.attempts.outcomes import AttemptEnding, AttemptResult
from flowq.engine.attempts.run import run_attempt
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Batch, Message
from flowq.engine.ports import Dispatcher
from flowq.engine.schedules.requested import start_requested
from flowq.engine.schedules.starting import start_due
from flowq.engine.sweeper.retention import collect

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing for a worker to do: an attempt, the end of a batch, a start, or to collect.

    Attributes:
        batch: The batch it belongs to; None of what begins runs, and when old rows are deleted.
        message: The step run; None when it is the batch's end.
        in_chord: Whether the batch advances when all of it has ended.
        priority: That of its run.
        schedule: The name of the schedule of which something is due.
        requested: The run that was requested.
    """

    batch: BatchId | None
    message: Message | None = None
    in_chord: bool = False
    priority: int = 0
    schedule: str | None = None
    requested: RunId | None = None


@dataclass(frozen=True, slots=True)
class _Later:
    due: float
    delivery: Delivery


def _sleep(delay: timedelta) -> None:
    time.sleep(delay.total_seconds())


class InProcessDispatcher(Dispatcher):
    """Implements `flowq.engine.ports.Dispatcher` in a list.

    Args:
        pick: From a number of waiting deliveries, which of them is next, from 0; by default the
            first. `random.Random(seed).randrange` gives an order that the seed repeats.
        wait: What happens until a retry is due, when nothing else is to be done. The database's
            clock decides about a retry, so a `wait` that returns early has to move that.
        clock: Seconds by which retries are due.
    """

    def __init__(
        self,
        *,
        pick: Callable[[int], int] | None = None,
        wait: Callable[[timedelta], None] = _sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pick = pick
        self._wait = wait
        self._clock = clock
        self._ready: deque[Delivery] = deque()
        self._later: list[_Later] = []
        self._open: dict[BatchId, int] = {}  # members of joined batches that have not ended

    @override
    def send(self, batches: Sequence[Batch]) -> None:
        """Keep the messages of batches until they are run."""
        for batch in batches:
            if batch.in_chord:
                self._open[batch.id] = len(batch.messages)
            self._put(
                Delivery(batch.id, one, batch.in_chord, batch.priority) for one in batch.messages
            )

    @override
    def send_advance(
        self, batches: Sequence[BatchId], delay: timedelta | None = None, priority: int = 0
    ) -> None:
        """Keep the ends of batches until they are run."""
        due = None if delay is None else self._clock() + delay.total_seconds()
        self._put((Delivery(batch, priority=priority) for batch in batches), due)

    @override
    def send_collect(self) -> None:
        """Keep the request to delete what is old until it is run."""
        self._put([Delivery(None)])

    @override
    def send_schedules(self, due: Sequence[tuple[str, str]]) -> None:
        """Keep the names of schedules until they are run."""
        self._put(Delivery(None, schedule=name) for name, _ in due)

    @override
    def send_requested(self, due: Sequence[tuple[str, str]]) -> None:
        """Keep the requests of runs until they are run."""
        self._put(Delivery(None, requested=RunId(UUID(run_id))) for run_id, _ in due)

    @override
    def workers(self, _patience: timedelta) -> None:
        """Return None: steps run in this process."""

    @override
    def queue_of(self, message: Message) -> str:
        return message.queue or "celery"

    @override
    def depth(self, queue: str) -> int:
        waiting = [one.message for one in self._ready if one.message is not None]
        return sum(self.queue_of(message) == queue for message in waiting)

    @property
    def waiting(self) -> tuple[Delivery, ...]:
        """What has been sent and not been run yet; retries that are not due are the last."""
        return (*self._ready, *(later.delivery for later in self._later))

    @property
    def due_now(self) -> tuple[Delivery, ...]:
        """What has been sent, and could be run now."""
        return tuple(self._ready)

    def run(self, engine: Engine, *, limit: int | None = None) -> int:
        """Do what has been sent, and what that leads to, until nothing is left.

        Args:
            engine: The engine, whose dispatcher this is.
            limit: Deliveries at most; None for no limit.

        Returns:
            How many deliveries were made.
        """
        done = 0
        while (limit is None or done < limit) and (delivery := self._next()) is not None:
            self.deliver(engine, delivery)
            done += 1
        return done

    def run_due(self, engine: Engine) -> int:
        """Do what has been sent and is due, and what that leads to; returns how much that was."""
        done = 0
        while True:
            self._wake()
            if not self._ready:
                return done
            delivery = self._next()
            assert delivery is not None
            self.deliver(engine, delivery)
            done += 1

    @property
    def next_later(self) -> float | None:
        """When the next delivery is due that was sent for later."""
        return min((later.due for later in self._later), default=None)

    def clear(self) -> None:
        """Lose everything that has been sent, as a broker that was emptied."""
        self._ready.clear()
        self._later.clear()
        self._open.clear()

    def deliver(self, engine: Engine, delivery: Delivery) -> None:
        """Do one thing as a worker would, whether it stands in the queue or not."""
        message = delivery.message
        if delivery.schedule is not None:
            start_due(engine, delivery.schedule)
            return
        if delivery.requested is not None:
            start_requested(engine, delivery.requested)
            return
        if delivery.batch is None:
            collect(engine)
            return
        if message is None:
            batch_ended(engine, delivery.batch)
            return
        if message.name not in engine.registry.steps and message.name not in engine.registry.flows:
            logger.warning(
                "%s is not defined here; it stays queued for a worker that knows it", message.name
            )
            self._ended(delivery)
            return
        try:
            ended = run_attempt(engine, message.id, message.run_id, in_chord=delivery.in_chord)
        except Exception:
            self._ended(delivery)  # a task that failed, so its chord does not wait for it
            raise
        self._seen(message, ended)
        for _ in run_following(engine, ended):
            pass
        if ended.ending is AttemptEnding.RETRYING or (
            ended.ending is AttemptEnding.DEFERRED and ended.delay is not None
        ):
            assert ended.delay is not None
            self._put([delivery], self._clock() + ended.delay.total_seconds())
            return
        if ended.ending is AttemptEnding.NOT_CLAIMED and not delivery.in_chord:
            not_claimed(engine, message.id)
        self._ended(delivery)

    def _ended(self, delivery: Delivery) -> None:
        """Count the members of a joined batch; the last one brings the batch's end."""
        if not delivery.in_chord or delivery.batch is None or delivery.batch not in self._open:
            return
        self._open[delivery.batch] -= 1
        if not self._open[delivery.batch]:
            del self._open[delivery.batch]
            self._put([Delivery(delivery.batch, priority=delivery.priority)])

    def _seen(self, message: Message, ended: AttemptResult) -> None:
        """Look at the end of an attempt."""

    def _put(self, deliveries: Iterable[Delivery], due: float | None = None) -> None:
        """Keep something to do, now or later."""
        if due is None:
            self._make_ready(deliveries)
        else:
            self._later += [_Later(due, one) for one in deliveries]

    def _next(self) -> Delivery | None:
        self._wake()
        if not self._ready and self._later:
            first = min(later.due for later in self._later)
            self._wait(timedelta(seconds=max(0.0, first - self._clock())))
            # A `wait` that did not take the whole time has its reasons.
            self._wake(first)
        if not self._ready:
            return None
        if self._pick is not None:
            self._ready.rotate(-self._pick(len(self._ready)))
        return self._ready.popleft()

    def _wake(self, until: float = 0.0) -> None:
        now = max(until, self._clock())
        due = sorted((one for one in self._later if one.due <= now), key=lambda one: one.due)
        self._later = [one for one in self._later if one.due > now]
        self._make_ready(one.delivery for one in due)

    def _make_ready(self, deliveries: Iterable[Delivery]) -> None:
        """Put deliveries behind those of the same priority, and before those of a smaller one."""
        first = len(self._ready)
        self._ready += deliveries
        if any(self._ready[place].priority for place in range(first, len(self._ready))):
            self._ready = deque(sorted(self._ready, key=lambda one: -one.priority))
