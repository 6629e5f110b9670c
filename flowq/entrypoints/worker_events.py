"""Events for Flower, a bunch at a time.

Celery publishes a worker's task events at every turn of its event loop, which is one round trip to
Redis for each one or two events: over a third of the time of a busy worker's main process. Here
they leave together, at most `INTERVAL` after the first of them, so Flower sees each a moment later
and the worker has the time for tasks. Events keep the time at which they happened.
"""

from typing import Any, Final

from celery import bootsteps

#: Seconds.
INTERVAL: Final = 0.05


class EventBatching(bootsteps.StartStopStep):
    """Lets the event dispatcher of a worker's consumer publish in bunches."""

    requires = ("celery.worker.consumer:Events",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._waiting = False

    def start(self, parent: Any) -> None:
        """Take over when events leave; again after each time the broker was lost."""
        self._waiting = False
        hub, dispatcher = parent.hub, parent.event_dispatcher
        if hub is None or not dispatcher.on_send_buffered:
            return  # a pool without an event loop publishes each event at once

        def wait() -> None:
            # Called from threads of the pool too: only the loop itself may set its timers.
            if not self._waiting:
                self._waiting = True
                hub.call_soon(hub.call_later, INTERVAL, leave)

        def leave() -> None:
            self._waiting = False
            dispatcher.flush()

        dispatcher.on_send_buffered = wait

    def stop(self, parent: Any) -> None:
        """Publish what is left while there is a connection."""
        if parent.event_dispatcher is not None:
            parent.event_dispatcher.flush()
