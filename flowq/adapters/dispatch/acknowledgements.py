"""How messages of flowq are acknowledged on Redis: in the memory of the worker alone.

kombu copies each message that a worker has fetched into a hash and a sorted set of Redis, and
deletes it from both when the task begins: two transactions for each message, so that a message of a
worker that died comes back after the visibility timeout, an hour. A message of flowq only says that
a row is due. If it is lost, the sweeper sends another one, in less than a minute. So its copy is of
no use, and it is not made. The prefetch limit holds, and a worker that stops puts back what it has
not begun. Messages without the header, of the app's own tasks and of direct calls of steps, are
acknowledged as before.
"""

from collections.abc import Callable
from typing import Any, Final

from kombu.transport import redis, virtual

#: A header of messages that may get lost, since a row says the same.
RECORDED: Final = "recorded"

_Channel: Any = redis.Channel  # the class of its acknowledgements is not in the published types


class Acknowledgements(redis.QoS):
    """The unacknowledged messages of a channel: of flowq in memory, all others in Redis."""

    channel: Any
    _delivered: Any
    _dirty: set[str]
    _flush: Callable[[], None]

    def append(self, message: Any, delivery_tag: str) -> None:
        """Keep a message that was fetched."""
        if RECORDED in message.headers:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget a message."""
        if self._recorded(delivery_tag) is not None:
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Forget a message, or put it back into its queue."""
        message = self._recorded(delivery_tag)
        if message is None:
            super().reject(delivery_tag, requeue=requeue)
            return
        if requeue and delivery_tag not in self._dirty:
            self._put_back(message, last=True)
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Put all messages back into their queues."""
        self._flush()  # of those that were acknowledged
        for tag, message in list(self._delivered.items()):
            if RECORDED in message.headers:
                self._put_back(message, last=False)
                del self._delivered[tag]
        super().restore_unacked(client)

    def _recorded(self, delivery_tag: str) -> Any:
        """Return a message that is kept in memory alone, or None."""
        message = self._delivered.get(delivery_tag)
        return message if message is not None and RECORDED in message.headers else None

    def _put_back(self, message: Any, *, last: bool) -> None:
        at, raw = message.delivery_info, message._raw  # noqa: SLF001 - there is no public way
        with self.channel.conn_or_acquire() as client:
            put = self.channel._do_restore_message  # noqa: SLF001
            put(raw, at["exchange"], at["routing_key"], client, last)


def acknowledge_in_memory() -> None:
    """Have Redis channels of this process keep messages of flowq so; may be called twice."""
    _Channel.QoS = Acknowledgements
