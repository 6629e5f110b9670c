"""Task events for Flower: sent in batches, and those of what runs without a message.

Celery publishes a worker's task events at every turn of its event loop: one round trip to Redis for
each one or two events, which takes over a third of the time of a busy worker's main process. Here
they are sent together, at most `INTERVAL` after the first of them. Flower gets them a moment later,
with their original times.

A program that its process continues, and a local call, have no task of Celery's. Their events have
the ids of their rows, which are those that their messages would have.
"""

import logging
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Final

from celery import Task, bootsteps

from flowq.engine.attempts.following import Followed
from flowq.engine.attempts.outcomes import AttemptEnding
from flowq.engine.runtime.causes import message_of

logger = logging.getLogger(__name__)

#: Not empty if the worker of this process sends task events.
_wanted: list[bool] = []

#: Seconds.
INTERVAL: Final = 0.05
#: Events of a batch, at most. With Celery's 24 a busy worker publishes 2 to 3 times as often.
_LIMIT: Final = 500


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

        dispatcher.buffer_limit = _LIMIT
        dispatcher.on_send_buffered = wait

    def stop(self, parent: Any) -> None:
        """Publish the remaining events while there is a connection."""
        if parent.event_dispatcher is not None:
            parent.event_dispatcher.flush()


def send_events(*, wanted: bool) -> None:
    """Choose whether this process, and those that it forks, send the events of `report`."""
    _wanted[:] = [True] if wanted else []


def report(task: "Task[Any, Any]", followed: Iterable[Followed]) -> None:
    """Send the events of attempts that are run within another task, while they are run.

    A lost event is missing in Flower only; the rows have everything.

    Args:
        task: The task that runs.
        followed: Runs them.
    """
    if not _wanted:
        for _ in followed:
            pass
        return
    with ExitStack() as stack:
        dispatcher: Any = None
        for one in followed:
            try:
                if dispatcher is None:
                    events = task.app.events.default_dispatcher(hostname=task.request.hostname)
                    dispatcher = stack.enter_context(events)
                    dispatcher.buffer_group = frozenset({"task"})
                for event, fields in _events_of(one):
                    dispatcher.send(event, uuid=str(one.row), **fields)
                if one.seconds > INTERVAL:
                    dispatcher.flush()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the broker
                logger.warning("an event was not sent: %s", error, extra={"action": "event"})
        if dispatcher is not None:
            stack.callback(dispatcher.flush)


def _events_of(one: Followed) -> list[tuple[str, dict[str, Any]]]:
    """Return the events that Celery would send of a task: name, and fields."""
    found: list[tuple[str, dict[str, Any]]] = []
    began, ended = time.time() - one.seconds, one.ended
    if one.message is not None:
        name = one.message.shadow or one.message.name
        shown = {"name": name, "args": "()", "kwargs": "{}", "retries": 0, "eta": None}
        root = {"root_id": str(one.message.run_id), "parent_id": None, "expires": None}
        found.append(("task-received", {**shown, **root, "timestamp": began}))
        found.append(("task-started", {"timestamp": began}))
    if ended.ending is AttemptEnding.FAILED and ended.error is not None:
        error = f"{type(ended.error).__name__}({message_of(ended.error)!r})"
        found.append(("task-failed", {"exception": error, "traceback": ""}))
    elif ended.ending is AttemptEnding.CANCELLED:
        found.append(("task-revoked", {"terminated": False, "signum": None, "expired": False}))
    elif ended.ending is AttemptEnding.RETRYING:
        found.append(("task-retried", {"exception": str(ended.error), "traceback": ""}))
    elif one.message is not None and ended.ending is AttemptEnding.COMPLETED:
        found.append(("task-succeeded", {"result": "None", "runtime": one.seconds}))
    return found
