"""What is mended in kombu: closing a lost connection, and a Redis client for each command."""

import socket
from contextlib import suppress
from typing import Any

from kombu import Connection, Consumer, Message, Queue

from flowq.adapters.dispatch.kombu_patches import patch_kombu
from tests.chaos.harness import breakable


def test_lost_connection_with_an_unacknowledged_message_can_be_closed() -> None:
    patch_kombu()
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
        connection.drain_events(timeout=60)
        with suppress(socket.timeout):
            connection.drain_events(timeout=0.1)  # leaves BRPOPs pending
        assert len(held) == 1
        broker.stop()

        # What celery.worker.consumer does when it has lost its connection.
        connection.collect(socket_timeout=1)
        connection.close()

        assert not connection.connected
        broker.start()


def test_channel_keeps_its_client_for_as_long_as_its_pool(valkey_url: str) -> None:
    patch_kombu()
    with Connection(valkey_url) as connection:
        channel: Any = connection.default_channel
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
            assert second.ping()
        other: Any = connection.channel()
        with other.conn_or_acquire() as own:
            assert own.connection_pool is other.pool
