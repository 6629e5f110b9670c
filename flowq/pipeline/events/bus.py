"""The event bus: what `MonitoringMiddleware` publishes, and what becomes of runs on workers.

    bus = get_event_bus()
    bus.subscribe(None, LoggingSubscriber())
    bus.subscribe(EventType.EXECUTION_COMPLETED, lambda event: print(event.data))

Handlers are called in the order of subscription, in the process that publishes. A failure of one is
logged and changes nothing. `await bus.follow(run)` publishes the events of a run that workers carry
out, each once.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from flowq.pipeline.events.types import WorkflowEvent

if TYPE_CHECKING:
    from flowq.client import Run

logger = logging.getLogger(__name__)


#: Gets each event; it may be async.
Handler: TypeAlias = Callable[[WorkflowEvent], Awaitable[Any] | Any]


class WorkflowEventBus:
    """Passes events to subscribed handlers."""

    def __init__(self) -> None:
        self._subscribed: list[tuple[str | None, Handler]] = []

    def subscribe(self, event_type: str | None, handler: Handler) -> None:
        """Call `handler` with each event of a type; None for all types."""
        self._subscribed = [*self._subscribed, (event_type, handler)]

    def unsubscribe(self, event_type: str | None, handler: Handler) -> None:
        """End a subscription; one that does not exist is ignored."""
        if (event_type, handler) in self._subscribed:
            left = list(self._subscribed)
            left.remove((event_type, handler))
            self._subscribed = left

    async def publish(self, event: WorkflowEvent) -> None:
        """Call the handlers of an event, one after the other."""
        for wanted, handler in self._subscribed:
            if wanted not in (None, event.event_type):
                continue
            try:
                answer = handler(event)
                if inspect.isawaitable(answer):
                    await answer
            except Exception:
                logger.exception(
                    "a handler of %s has failed: %r",
                    event.event_type,
                    handler,
                    extra={"action": "event"},
                )

    async def follow(self, run: "Run[Any]", *, timeout: float | None = None) -> WorkflowEvent:  # noqa: ASYNC109 - as of `Run`
        """Publish the events of a run as they happen, each once, until the run is finished.

        Args:
            run: What `pipeline.enqueue` returned, or `Run.get(result.metrics["run_id"])`.
            timeout: Seconds; None follows without limit.

        Returns:
            The last event: EXECUTION_COMPLETED or EXECUTION_FAILED.

        Raises:
            ResultTimeout: the run did not end in time.
            RunNotFound: there is no such run.
        """
        # Not at the top: it loads the client, which a module of subscribers does not need.
        from flowq.pipeline.events.following import events_of  # noqa: PLC0415 - see above

        last: WorkflowEvent | None = None
        async for last in events_of(run, timeout):
            await self.publish(last)
        assert last is not None
        return last


@cache
def get_event_bus() -> WorkflowEventBus:
    """Return the bus of this process."""
    return WorkflowEventBus()
