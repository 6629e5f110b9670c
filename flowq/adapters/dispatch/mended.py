"""What has to be mended in kombu 5.7 so that a worker outlives its Redis.

When the connection is lost, Celery closes it twice. The first time a channel reads the answer of
its pending BRPOP, which raises, so neither it nor the channels after it are closed; the second time
one of those gives back the messages that were not acknowledged, through a transport that is gone by
then, and that AttributeError ends the worker. It takes a message in hand at that moment.
"""

from queue import Empty
from typing import Any

from kombu.transport import redis

_close = redis.Channel.close


def mend_kombu() -> None:
    """Let channels close at once, also when their connection is lost; may be called twice."""
    redis.Channel.close = _close_at_once  # type: ignore[assignment, method-assign]


def _close_at_once(channel: Any) -> None:
    if channel._in_poll:  # noqa: SLF001 - there is no public way
        try:
            channel._brpop_read()  # noqa: SLF001 - which also ends the poll, come what may
        except (Empty, *channel.connection_errors):
            # Nobody waits for this answer any more.
            channel._in_poll = None  # noqa: SLF001
    _close(channel)
