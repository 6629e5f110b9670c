"""Threads of this process in place of workers: what `execute` runs on.

It does what `InProcessDispatcher` does, several deliveries at a time and as soon as they are sent.
The records are those of everyone, so when this process dies its steps are found by the sweeper of a
worker, and the run continues there.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flowq.adapters.dispatch.inprocess import Delivery, InProcessDispatcher
from flowq.core.ids import RunId, StepRunId
from flowq.engine.attempts.outcomes import AttemptResult
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Message

logger = logging.getLogger(__name__)


@dataclass
class RunObserver:
    """What is seen of one run.

    Attributes:
        moved: Set whenever something of it was done,
        call: and called then, in the thread that did it.
        error: The last exception of its steps.
        errors: The last exception of each step.
    """

    moved: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    errors: dict[StepRunId, BaseException] = field(default_factory=dict)
    call: Callable[[], object] = lambda: None


class ThreadDispatcher(InProcessDispatcher):
    """Implements `flowq.engine.ports.Dispatcher` with threads.

    Args:
        threads: How many deliveries are made at once, at most.
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._threads = threads
        self._changed = threading.Condition(threading.RLock())
        self._watches: dict[RunId, RunObserver] = {}

    def start(self, engine: Engine) -> None:
        """Begin to deliver."""
        for number in range(self._threads):
            threading.Thread(
                target=self._serve, args=(engine,), name=f"flowq-here-{number}", daemon=True
            ).start()

    @contextmanager
    def watching(
        self, run_id: RunId, call: Callable[[], object] = lambda: None
    ) -> Iterator[RunObserver]:
        """Yield what is seen of a run from here; `call` is called whenever something was done."""
        watch = self._watches[run_id] = RunObserver(call=call)
        try:
            yield watch
        finally:
            del self._watches[run_id]

    def _serve(self, engine: Engine) -> None:
        while True:
            with self._changed:
                while (delivery := self._take()) is None:
                    self._changed.wait(self._pause())
            try:
                self.deliver(engine, delivery)
            except Exception:
                # The sweeper looks after what is left undone; the thread is needed for the rest.
                logger.exception("a delivery failed", extra={"action": "deliver"})
            self._ring(delivery)

    def _ring(self, delivery: Delivery) -> None:
        for run_id, watch in list(self._watches.items()):
            if delivery.message is None or delivery.message.run_id == run_id:
                watch.moved.set()
                watch.call()

    def _take(self) -> Delivery | None:
        self._wake()
        return self._ready.popleft() if self._ready else None

    def _pause(self) -> float | None:
        """Return the seconds until something is due; None when nothing is known to be."""
        due = [later.due for later in self._later]
        return max(0.0, min(due) - self._clock()) if due else None

    def _put(self, deliveries: Iterable[Delivery], due: float | None = None) -> None:
        with self._changed:
            super()._put(deliveries, due)
            self._changed.notify_all()

    def _ended(self, delivery: Delivery) -> None:
        with self._changed:
            super()._ended(delivery)

    def _seen(self, message: Message, ended: AttemptResult) -> None:
        watch = self._watches.get(message.run_id)
        if ended.error is not None and watch is not None:
            watch.error = watch.errors[message.id] = ended.error
