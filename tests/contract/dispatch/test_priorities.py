"""Messages of runs with a larger priority are taken first; others are sent as ever."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import uuid_utils.compat as uuids
from celery import Celery
from kombu import Connection, Queue

from flowq.adapters.dispatch.app import make_app
from flowq.adapters.dispatch.celery import ADVANCE, CeleryDispatcher
from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.dispatch.priorities import broker_priority
from flowq.core.ids import RunId, batch_of_run, node_id
from flowq.engine.model.rows import Batch, Message

RUN = RunId(uuids.uuid7())
#: Where kombu keeps the messages of a queue that have the priority -4.
URGENT_LIST = "celery\x06\x16-4"
GIVEN = [0, 3, 9, 1, 0, 8, 9, 2]


def batch(priority: int, number: int, *, size: int = 1) -> Batch:
    messages = tuple(
        Message(node_id(RUN, f"{number}.{one}"), RUN, "steps.measure", f"{priority} {number} {one}")
        for one in range(size)
    )
    return Batch(batch_of_run(RUN), messages, in_chord=size > 1, priority=priority)


BATCHES = [batch(priority, number) for number, priority in enumerate(GIVEN)]
EXPECTED = [
    f"{priority} {number} 0"
    for priority, number in sorted(
        zip(GIVEN, range(len(GIVEN)), strict=True), key=lambda one: (-one[0], one[1])
    )
]


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    with make_app("priorities", redis_url) as app:
        yield app


def labels_taken(connection: Connection, count: int) -> list[str]:
    """What a worker takes, one message at a time, in its order."""
    found: list[str] = []

    def take(message: Any) -> None:
        found.append(message.headers["argsrepr"])
        message.ack()

    channel: Any = connection.channel()
    channel.basic_qos(0, 1, False)
    with connection.Consumer([Queue("celery")], channel=channel, on_message=take):
        while len(found) < count:
            connection.drain_events(timeout=60)
    return found


def test_redis_gives_the_most_urgent_first_and_the_oldest_of_equals(app: Celery) -> None:
    CeleryDispatcher(app).send(BATCHES)
    with app.connection_for_read() as connection:
        assert labels_taken(connection, len(GIVEN)) == EXPECTED


def test_threads_of_one_process_do_so_too() -> None:
    dispatcher = InProcessDispatcher()
    dispatcher.send(BATCHES)
    ready = [one.message.label for one in dispatcher.due_now if one.message is not None]
    assert ready == EXPECTED


def test_own_steps_of_an_app_are_read_after_the_urgent_ones(redis_url: str) -> None:
    with Celery("own-steps", broker=redis_url) as app:
        app.conf.broker_transport_options = {"priority_steps": [0, 5]}
        CeleryDispatcher(app).send(BATCHES)
        with app.connection_for_write() as connection:
            connection.Producer().publish(
                {}, routing_key="celery", exchange="", priority=7, headers={"argsrepr": "theirs"}
            )
        with app.connection_for_read() as connection:
            assert labels_taken(connection, len(GIVEN) + 1) == [*EXPECTED, "theirs"]


def test_run_without_a_priority_is_sent_as_without_priorities(app: Celery, redis_url: str) -> None:
    CeleryDispatcher(app).send([batch(0, 0), batch(0, 1, size=3)])
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        sent = [json.loads(one) for one in client.lrange("celery", 0, -1)]
    assert [one["properties"]["priority"] for one in sent] == [0] * 4
    bodies = [json.loads(base64.b64decode(one["body"])) for one in sent]
    assert all("priority" not in json.dumps(embedded) for _, _, embedded in bodies)


def test_advance_after_a_chord_has_the_priority_of_its_run(app: Celery, redis_url: str) -> None:
    dispatcher = CeleryDispatcher(app)
    dispatcher.send([batch(4, 0, size=3)])
    dispatcher.send_advance([batch_of_run(RUN)], priority=4)
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        (advance, *steps) = [json.loads(one) for one in client.lrange(URGENT_LIST, 0, -1)]
    assert len(steps) == 3
    assert advance["headers"]["task"] == ADVANCE
    _, _, embedded = json.loads(base64.b64decode(steps[0]["body"]))
    assert embedded["chord"]["options"]["priority"] == -4
    assert dispatcher.depth("celery") == 4


def test_rabbitmq_gets_the_number_itself() -> None:
    with Connection("amqp://") as rabbitmq, Connection("redis://") as on_redis:
        assert [broker_priority(rabbitmq, given) for given in (0, 1, 9)] == [None, 1, 9]
        assert [broker_priority(on_redis, given) for given in (0, 1, 9)] == [None, -1, -9]
