"""Sends task events for Flower in batches.

Celery publishes a worker's task events at every turn of its event loop: one round trip to Redis for
each one or two events, which takes over a third of the time of a busy worker's main process. Here
they are sent together, at most `INTERVAL` after the first of them. Flower gets them a moment later,
with their original times.
"""

from typing import Any, Final

from celery import bootsteps

#: Seconds.
INTERVAL: Final = 0.05


class EventBatching(bootsteps.StartStopStep):
    """Makes the event dispatcher of a worker's consumer publish in batches."""

    requires = ("celery.worker.consumer:Events",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._waiting = False

    def start(self, parent: Any) -> None:
        """Take over the sending of events; called again after each reconnect to the broker."""
        self._waiting = False
        hub, dispatcher = parent.hub, parent.event_dispatcher
        if hub is None or not dispatcher.on_send_buffered:
            return  # a pool without an event loop publishes each event at once

        def wait() -> None:
            # Also called from threads of the pool: only the loop itself may set its timers.
            if not self._waiting:
                self._waiting = True
                hub.call_soon(hub.call_later, INTERVAL, leave)

        def leave() -> None:
            self._waiting = False
            dispatcher.flush()

        dispatcher.on_send_buffered = wait

    def stop(self, parent: Any) -> None:
        """Publish the remaining events while there is a connection."""
        if parent.event_dispatcher is not None:
            parent.event_dispatcher.flush()
