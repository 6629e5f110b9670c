"""Which events leave a worker together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from celery import Celery
from kombu import Queue

from flowq.entrypoints.worker_events import EventBatching


@dataclass
class Loop:
    """An event loop whose timers are over when the test says so."""

    due: list[Callable[[], None]] = field(default_factory=list)

    def call_soon(self, call: Callable[..., None], *args: Any) -> None:
        call(*args)

    def call_later(self, _seconds: float, call: Callable[[], None]) -> None:
        self.due.append(call)


def test_events_of_an_interval_are_one_message() -> None:
    app, loop = Celery("events", broker="memory://", set_as_current=False), Loop()
    with app.connection_for_write() as connection:
        dispatcher = app.events.Dispatcher(
            connection, buffer_group=frozenset({"task"}), on_send_buffered=lambda: None
        )
        queue = Queue("heard", dispatcher.exchange, "#", channel=connection.channel())
        queue.declare()

        def heard() -> list[list[int]]:
            messages = iter(lambda: queue.get(no_ack=True), None)
            return [[event["number"] for event in message.payload] for message in messages]

        EventBatching(SimpleNamespace()).start(
            SimpleNamespace(hub=loop, event_dispatcher=dispatcher)
        )
        for number in range(100):  # more than Celery sends at once
            dispatcher.send("task-started", uuid="1", number=number)
        before = heard()
        for call in loop.due:
            call()

        assert (before, heard()) == ([], [list(range(100))])
        assert len(loop.due) == 1
