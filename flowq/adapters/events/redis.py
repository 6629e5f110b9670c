"""The end of a run, rung on a Redis channel, so that who waits for it need not poll the database.

Channels forget: a ring that nobody hears, or that a restart of Redis swallows, is gone. So a waiter
looks at the row itself once it listens, and again from time to time.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import RedisError

from flowq.adapters.breaker import Breaker
from flowq.core.ids import RunId

logger = logging.getLogger(__name__)


class RedisEvents:
    """Implements `flowq.engine.ports.Events`.

    Args:
        client: A client, safe to share among threads.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._breaker = Breaker(patience=5)

    def run_ended(self, run_id: RunId) -> None:
        """Wake whoever waits for a run. Never raises: waiters look at the row from time to time."""
        if not self._breaker.allows():
            return
        try:
            self._client.publish(_channel(run_id), b"ended")
        except (RedisError, OSError) as error:
            if self._breaker.failed():
                logger.warning("ends of runs are not announced, the first is %s: %s", run_id, error)
        else:
            self._breaker.worked()

    @contextmanager
    def listening(self, run_id: RunId) -> Iterator[Callable[[float], None]]:
        """Give a function that waits for the end of a run, for so many seconds at most."""
        with self._client.pubsub() as channel:  # type: ignore[no-untyped-call]  # so in redis-py
            try:
                channel.subscribe(_channel(run_id))
                channel.get_message(timeout=1)  # the subscription holds from here on
            except (RedisError, OSError):
                yield time.sleep
                return

            def wait(seconds: float) -> None:
                try:
                    channel.get_message(timeout=seconds)
                except (RedisError, OSError):
                    time.sleep(min(seconds, 0.1))

            yield wait


def _channel(run_id: RunId) -> str:
    return f"flowq:run:{run_id}:ended"
