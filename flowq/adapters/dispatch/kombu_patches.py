"""What has to be mended in kombu 5.7: a worker that ends with its Redis, clients, and prefixes.

When the connection is lost, Celery closes it twice. The first time a channel reads the answer of
its pending BRPOP, which raises, so neither it nor the channels after it are closed; the second time
one of those gives back the messages that were not acknowledged, through a transport that is gone by
then, and that AttributeError ends the worker. It takes a message in hand at that moment.

And for each command a channel makes a Redis client, which fills a table of hundreds of callbacks: a
tenth of the time of a busy worker's main process. A client only borrows connections from the
channel's pool, so one for each pool does.

With `global_keyprefix` the question whether a queue exists goes out without the prefix, so every
queue seemed empty. And all topics are subscribed to as patterns, which a server lets nobody do who
is allowed the channels of one prefix alone; with `fanout_patterns` off there are no patterns in
them, so they are subscribed to as what they are.

Messages of flowq are acknowledged without Redis (see `acknowledgements`), and urgent ones have
lists of their own (see `priorities`).
"""

from queue import Empty
from typing import Any

from kombu.transport import redis

from flowq.adapters.dispatch.acknowledgements import acknowledge_in_memory
from flowq.adapters.dispatch.priorities import read_urgent_lists

_close = redis.Channel.close
_Channel: Any = redis.Channel  # what is mended is not public
_prefixed: list[str] = redis.GlobalKeyPrefixMixin.PREFIXED_SIMPLE_COMMANDS
_subscribe = _Channel._subscribe  # noqa: SLF001
_unsubscribe = _Channel._unsubscribe_from  # noqa: SLF001
_create_client = _Channel._create_client  # noqa: SLF001


def patch_kombu() -> None:
    """Let channels close at once, keep their clients and their prefix; may be called twice."""
    redis.Channel.close = _close_at_once  # type: ignore[assignment, method-assign]
    _Channel._create_client = _kept_client  # noqa: SLF001
    _Channel._subscribe = _subscribe_by_name  # noqa: SLF001
    _Channel._unsubscribe_from = _unsubscribe_by_name  # noqa: SLF001
    read_urgent_lists()
    acknowledge_in_memory()
    if "EXISTS" not in _prefixed:
        _prefixed.append("EXISTS")


def _subscribe_by_name(channel: Any) -> None:
    if channel.fanout_patterns:
        _subscribe(channel)
        return
    queues = channel.active_fanout_queues
    topics = [one for queue in queues for one in channel._get_subscribe_topics(queue)]  # noqa: SLF001
    if not topics:
        return
    client = channel.subclient
    if client.connection._sock is None:  # noqa: SLF001
        client.connection.connect()
    channel._in_listen = client.connection  # noqa: SLF001
    client.subscribe(*topics)


def _unsubscribe_by_name(channel: Any, queue: str) -> None:
    if channel.fanout_patterns:
        _unsubscribe(channel, queue)
        return
    client = channel.subclient
    if client.connection and client.connection._sock:  # noqa: SLF001
        client.unsubscribe(*channel._get_subscribe_topics(queue))  # noqa: SLF001


def _close_at_once(channel: Any) -> None:
    if channel._in_poll:  # noqa: SLF001 - there is no public way
        try:
            channel._brpop_read()  # noqa: SLF001 - which also ends the poll, come what may
        except (Empty, *channel.connection_errors):
            # Nobody waits for this answer any more.
            channel._in_poll = None  # noqa: SLF001
    _close(channel)


def _kept_client(channel: Any, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's
    if asynchronous:  # kept by kombu itself
        return _create_client(channel, asynchronous=True)
    client = channel.__dict__.get("_flowq_client")
    if client is None or client.connection_pool is not channel.pool:
        client = channel.__dict__["_flowq_client"] = _create_client(channel)
    return client
