"""Requests for a pass of a sweeper now, in a Redis list of one entry.

A process without the Celery app sends nothing itself (see `unsent`), so what it queues would wait
for the next pass. It pushes an entry, and the sweeper that pops it passes at once. The list is cut
to one entry: many requests are one pass. A lost request costs the rest of the pause, no more.
"""

from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError
from typing_extensions import override

from flowq.core.errors import RedisUnavailable
from flowq.engine.ports import Wakeups

#: Seconds after which a request is forgotten that no sweeper takes.
_TTL: Final = 60
#: Seconds that one command waits at most; clients give up a server that is silent for longer.
_BLOCK: Final = 1.0


class RedisWakeups(Wakeups):
    """Implements `flowq.engine.ports.Wakeups`.

    Args:
        client: A client whose connections may be held for seconds.
        prefix: What the name of the key begins with.
    """

    def __init__(self, client: Redis, prefix: str = "") -> None:
        self._client: Any = client
        self._key = f"{prefix}flowq:sweep"

    @override
    def request(self) -> None:
        pipeline = self._client.pipeline()
        pipeline.lpush(self._key, 1).ltrim(self._key, 0, 0).expire(self._key, _TTL)
        try:
            pipeline.execute()
        except (RedisError, OSError) as error:
            raise RedisUnavailable(f"no sweeper could be woken: {error}") from error

    @override
    def wait(self, seconds: float) -> bool:
        try:
            return bool(self._client.blpop([self._key], timeout=min(seconds, _BLOCK)))
        except (RedisError, OSError) as error:
            raise RedisUnavailable(f"requests cannot be read: {error}") from error
