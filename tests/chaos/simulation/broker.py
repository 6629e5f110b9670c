"""The broker of a simulation: one queue for all workers, that nobody can trust."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from flowq.adapters.dispatch.inprocess import Delivery, InProcessDispatcher
from flowq.core.ids import BatchId
from tests.chaos.simulation.database import Clock
from tests.tools.faults.points import FaultPoint


class Broker(InProcessDispatcher):
    """A broker for all workers, whose queue chance takes from, loses and doubles."""

    def __init__(self, clock: Clock, reach: Callable[[str], None]) -> None:
        super().__init__(clock=lambda: clock.seconds)
        self._reach = reach

    def send_advance(
        self, batches: Sequence[BatchId], delay: timedelta | None = None, priority: int = 0
    ) -> None:
        """Keep the ends of batches; the place before and after is not one of the engine's."""
        self._reach(FaultPoint.BEFORE_PUBLISH)
        super().send_advance(batches, delay, priority)
        self._reach(FaultPoint.AFTER_PUBLISH)

    def ready(self) -> int:
        """Return how many deliveries can be made now."""
        self._wake()
        return len(self._ready)

    def next_due(self) -> list[float]:
        """Return when the retries that wait are due."""
        return [one.due for one in self._later]

    def take(self, index: int, *, leave: bool = False) -> Delivery:
        """Take a delivery from the queue; with `leave` it will be made once more."""
        delivery = self._ready[index]
        if not leave:
            del self._ready[index]
        return delivery

    def lose(self, index: int) -> Delivery:
        """Lose one of the deliveries, those that are not due yet included."""
        if index < len(self._ready):
            return self.take(index)
        return self._later.pop(index - len(self._ready)).delivery


def label_of(delivery: Delivery) -> str:
    """Return what a delivery is about, for the history."""
    if delivery.message is None:
        return f"advance {delivery.batch}"
    return f"attempt {delivery.message.label} of {delivery.message.run_id}"
