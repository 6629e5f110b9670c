"""What a run's priority is on each broker.

flowq has one scale on every broker: 0 is the default, 9 is the most urgent. RabbitMQ has the same
one, for queues that are declared with `x-max-priority`. kombu's Redis transport has the opposite
one: a queue is a list for each priority step, a worker reads them in ascending order, and messages
without a priority, flowq's and everybody's, are in the first list. So urgent messages get steps
below zero, and workers read nine more lists, in the same BRPOP. Tasks that are sent with Celery's
own `priority=` are in the lists after those.
"""

from typing import Any, Final

from kombu import Connection
from kombu.transport import redis

from flowq.core.limits.queueing import MAX_PRIORITY

#: The lists of priorities 9 to 1, in the order in which they are read.
_URGENT: Final = tuple(range(-MAX_PRIORITY, 0))
_Channel: Any = redis.Channel  # its priority steps are a documented option, its bounds are not


def broker_priority(connection: Connection, priority: int) -> int | None:
    """Return the priority of a message for a broker; None is the broker's own default.

    Args:
        connection: To the broker; it need not be connected.
        priority: The run's, from 0 to 9.
    """
    if not priority:
        return None
    is_redis = connection.transport.driver_type == "redis"
    return -priority if is_redis else priority


class _Steps:
    """The priority steps of a channel: urgent ones, then kombu's or those that an app sets."""

    def __init__(self, steps: tuple[int, ...]) -> None:
        self._default = [*_URGENT, *steps]

    def __get__(self, channel: Any, _: type) -> list[int]:
        if channel is None:
            return self._default
        steps: list[int] = channel.__dict__.get("_flowq_steps", self._default)
        return steps

    def __set__(self, channel: Any, steps: Any) -> None:
        own = [step for step in steps if step >= 0]
        channel.__dict__["_flowq_steps"] = [*_URGENT, *own]


def read_urgent_lists() -> None:
    """Have Redis channels of this process write and read the lists of urgent messages.

    It may be called twice.
    """
    if _Channel.min_priority != _URGENT[0]:
        _Channel.priority_steps = _Steps(tuple(_Channel.priority_steps))
        _Channel.min_priority = _URGENT[0]
