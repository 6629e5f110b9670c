"""Messages of flowq are acknowledged in the worker's memory; all others in Redis, as by kombu."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import ANY

import pytest
import redis
from kombu import Connection, Consumer, Message, Queue

from flowq.adapters.dispatch.acknowledgements import RECORDED
from flowq.adapters.dispatch.kombu_patches import patch_kombu

OURS = {RECORDED: True}


@pytest.fixture
def client(valkey_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(valkey_url.replace("redis+socket:", "unix:")) as client:
        client.delete("ours", "unacked", "unacked_index")
        yield client
        client.delete("ours", "unacked", "unacked_index")


@contextmanager
def consuming(url: str, prefetch: int = 0) -> Iterator[tuple[Any, list[Message]]]:
    """Yield a connection that fetches messages of a queue, and the fetched ones."""
    patch_kombu()
    fetched: list[Message] = []
    with Connection(url) as connection:
        channel: Any = connection.channel()
        channel.basic_qos(0, prefetch, False)
        consumer = Consumer(channel, [Queue("ours")], on_message=fetched.append)
        consumer.consume()
        yield connection, fetched


def publish(url: str, bodies: list[int], headers: dict[str, Any]) -> None:
    with Connection(url) as connection:
        for body in bodies:
            connection.Producer().publish(body, exchange="", routing_key="ours", headers=headers)


def drain(connection: Any, fetched: list[Message], count: int) -> None:
    """Fetch so many messages in all, and what else there is."""
    while True:
        try:
            connection.drain_events(timeout=60 if len(fetched) < count else 0.2)
        except TimeoutError:
            return


def bodies(url: str, count: int) -> list[int]:
    """Take the messages of the queue, of which there should be so many, first to last."""
    with consuming(url) as (connection, fetched):
        drain(connection, fetched, count)
        for message in fetched:
            message.ack()
        return [message.decode() for message in fetched]


def test_only_messages_of_others_are_copied(client: "redis.Redis", valkey_url: str) -> None:
    publish(valkey_url, [1], OURS)
    publish(valkey_url, [2], {})
    with consuming(valkey_url) as (connection, fetched):
        drain(connection, fetched, 2)
        assert [message.decode() for message in fetched] == [1, 2]
        assert client.hkeys("unacked") == [str(fetched[1].delivery_tag).encode()]
        for message in fetched:
            message.ack()
        assert client.hlen("unacked") == client.zcard("unacked_index") == 0
    assert bodies(valkey_url, 0) == []


def test_prefetch_limit_counts_both_kinds(client: "redis.Redis", valkey_url: str) -> None:
    publish(valkey_url, [1], OURS)
    publish(valkey_url, [2], {})
    publish(valkey_url, [3, 4], OURS)
    with consuming(valkey_url, prefetch=2) as (connection, fetched):
        drain(connection, fetched, 2)
        assert [message.decode() for message in fetched] == [1, 2]
        fetched[0].ack()
        drain(connection, fetched, 3)
        assert [message.decode() for message in fetched] == [1, 2, 3]
        for message in fetched:
            if not message.acknowledged:
                message.ack()
    assert bodies(valkey_url, 1) == [4]


@pytest.mark.parametrize("headers", [OURS, {}], ids=["ours", "others"])
def test_channel_that_closes_puts_back_what_was_not_acknowledged(
    client: "redis.Redis", valkey_url: str, headers: dict[str, Any]
) -> None:
    publish(valkey_url, [1, 2, 3], headers)
    with consuming(valkey_url) as (connection, fetched):
        drain(connection, fetched, 3)
        fetched[0].ack()
        assert client.llen("ours") == 0
    assert sorted(bodies(valkey_url, 2)) == [2, 3]


@pytest.mark.parametrize("headers", [OURS, {}], ids=["ours", "others"])
def test_rejected_message_is_dropped_or_put_back(
    client: "redis.Redis", valkey_url: str, headers: dict[str, Any]
) -> None:
    publish(valkey_url, [1, 2, 3], headers)
    with consuming(valkey_url) as (connection, fetched):
        drain(connection, fetched, 3)
        fetched[0].reject()
        fetched[1].requeue()
        fetched[2].ack()
        # A worker that stops rejects whatever its channel still lists, acknowledged or not.
        channel: Any = fetched[2].channel
        channel.basic_reject(fetched[2].delivery_tag, requeue=True)
        drain(connection, fetched, 4)  # what was put back is fetched again
        assert [message.decode() for message in fetched] == [1, 2, 3, 2]
    assert bodies(valkey_url, 1) == [2]


def test_message_that_was_put_back_says_so(client: "redis.Redis", valkey_url: str) -> None:
    publish(valkey_url, [1], OURS)
    with consuming(valkey_url) as (connection, fetched):
        drain(connection, fetched, 1)
    with consuming(valkey_url) as (connection, fetched):
        drain(connection, fetched, 1)
        (message,) = fetched
        assert message.headers == {"redelivered": True, RECORDED: ANY}
        message.ack()
