"""Executions whose log is read after each delivery, as a client reads it while they run.

Deliveries come in an order that `pick` makes. The clock of these runs does not move while there is
work, so calls end at one time: their order is decided when the program observes them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from typing_extensions import override

from flowq.adapters.dispatch.inprocess import Delivery, InProcessDispatcher
from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Message
from flowq.playbooks.running.log import LogEvent, replayed
from flowq.testing import runs


@contextmanager
def watched(
    pick: Callable[[int], int] = lambda _: 0,
    then: Callable[[Engine, Message], object] = lambda *_: None,
) -> Iterator[dict[RunId, list[LogEvent]]]:
    """Read the logs of what `testing.start` starts in the block.

    Args:
        pick: From a number of waiting deliveries, which of them is next, from 0.
        then: Is called after each delivery of a message, when the log was read.

    Yields:
        From each run to its log as it was read last.

    Raises:
        AssertionError: a log does not begin with what was read of it before.
    """
    logs: dict[RunId, list[LogEvent]] = {}

    class Watching(InProcessDispatcher):
        def __init__(self, **options: Any) -> None:
            super().__init__(pick=pick, **options)

        @override
        def deliver(self, engine: Engine, delivery: Delivery) -> None:
            super().deliver(engine, delivery)
            if delivery.message is not None:
                read(engine, delivery.message.run_id)
                then(engine, delivery.message)

    def read(engine: Engine, run_id: RunId) -> None:
        now, before = replayed(engine, run_id).events, logs.get(run_id, [])
        assert before == now[: len(before)]
        logs[run_id] = now

    with mock.patch.object(runs, "InProcessDispatcher", Watching):
        yield logs
