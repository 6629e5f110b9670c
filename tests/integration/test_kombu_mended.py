"""Closing a lost connection to Redis, as a Celery worker does."""

import socket
from contextlib import suppress

from kombu import Connection, Consumer, Message, Queue

from flowq.adapters.dispatch.mended import mend_kombu
from tests.chaos import breakable


def test_lost_connection_with_an_unacknowledged_message_can_be_closed() -> None:
    mend_kombu()
    held: list[Message] = []
    with breakable.broker() as broker:
        connection = Connection(broker.url)
        queue = Queue("queue", channel=connection.default_channel)
        queue.declare()
        connection.Producer().publish({}, routing_key="queue", exchange="")
        consumer = Consumer(connection.default_channel, [queue], on_message=held.append)
        consumer.consume()
        # A worker has several channels; the second one is closed first.
        other = Consumer(connection.channel(), [Queue("other")], on_message=held.append)
        other.consume()
        connection.drain_events(timeout=5)
        with suppress(socket.timeout):
            connection.drain_events(timeout=0.1)  # leaves BRPOPs pending
        assert len(held) == 1
        broker.stop()

        # What celery.worker.consumer does when it has lost its connection.
        connection.collect(socket_timeout=1)
        connection.close()

        assert not connection.connected
        broker.start()
