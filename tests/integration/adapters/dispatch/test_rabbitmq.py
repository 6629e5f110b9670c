"""Messages on a real RabbitMQ: none is lost unnoticed, and none needs a queue that exists."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from amqp import NotFound
from celery import Celery
from kombu import Queue

from flowq.adapters.dispatch.amqp import check_queues
from flowq.adapters.dispatch.app import make_app
from flowq.adapters.dispatch.celery import ADVANCE, COLLECT, CeleryDispatcher
from flowq.core.errors import BrokerUnavailable, InvalidSetting
from flowq.core.ids import BatchId, RunId, batch_of_items, item_id, node_id
from flowq.engine.model.rows import Batch, Message
from tests.tools import servers
from tests.tools.brokers.rabbitmq import RabbitMq

RUN = RunId(uuids.uuid7())
NODE = node_id(RUN, "measure")
BATCH: BatchId = batch_of_items(NODE)


def item(index: int, queue: str) -> Message:
    return Message(item_id(NODE, index), RUN, "steps.measure", f"measure[{index}]", queue)


def batch(count: int, queue: str, *, in_chord: bool = False) -> Batch:
    return Batch(BATCH, tuple(item(index, queue) for index in range(count)), in_chord=in_chord)


@pytest.fixture
def app(rabbitmq_node: RabbitMq) -> Iterator[Celery]:
    app = make_app("flowq-test", rabbitmq_node.url)
    yield app
    app.close()


@pytest.fixture
def queue() -> str:
    """A queue of the test's own, which is not declared yet."""
    return f"q-{uuids.uuid7()}"


def take(node: RabbitMq, queue: str) -> list[Any]:
    """Return the messages of a queue, first message first."""
    found = []
    with node.channel() as channel:
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            found.append(message)
    return found


def test_messages_are_what_a_worker_expects(
    rabbitmq_node: RabbitMq, app: Celery, queue: str
) -> None:
    """Small, persistent, in order, and with nothing but ids; there is no chord without a Redis."""
    CeleryDispatcher(app).send([batch(3, queue, in_chord=True)])

    messages = take(rabbitmq_node, queue)
    assert [item_id(NODE, index) for index in range(3)] == [
        UUID(one.headers["id"]) for one in messages
    ]
    for message in messages:
        assert [[], {}, {}] == json.loads(message.body)
        assert "group" not in message.headers
        assert 2 == message.properties["delivery_mode"]
        assert len(message.body) + len(json.dumps(message.headers)) < 1024


def test_everything_else_goes_to_the_default_queue(rabbitmq_node: RabbitMq, queue: str) -> None:
    with make_app("flowq-test", rabbitmq_node.url) as app:
        app.conf.task_default_queue = queue
        dispatcher = CeleryDispatcher(app)
        dispatcher.send_advance([BATCH])
        dispatcher.send_advance([BATCH], timedelta(seconds=5))
        dispatcher.send_collect()

    headers = [one.headers for one in take(rabbitmq_node, queue)]
    assert [ADVANCE, ADVANCE, COLLECT] == [one["task"] for one in headers]
    assert [False, True, False] == ["eta" in one for one in headers]


def test_missing_queue_is_declared_as_the_workers_declare_it(
    rabbitmq_node: RabbitMq, app: Celery, queue: str
) -> None:
    """Otherwise the worker that comes later could not start."""
    app.conf.task_queue_max_priority = 5

    CeleryDispatcher(app).send([batch(2, queue)])

    with rabbitmq_node.channel() as channel:
        declared = Queue(queue, routing_key=queue, queue_arguments={"x-max-priority": 5})
        name, waiting, _consumers = channel.queue_declare(queue, passive=True)
        assert (queue, 2) == (name, waiting)
        declared(channel).declare()  # RabbitMQ refuses other arguments


def test_queue_that_was_deleted_is_declared_again(
    rabbitmq_node: RabbitMq, app: Celery, queue: str
) -> None:
    dispatcher = CeleryDispatcher(app)
    dispatcher.send([batch(1, queue)])
    with rabbitmq_node.channel() as channel:
        channel.queue_delete(queue)

    dispatcher.send([batch(700, queue)])  # more than are confirmed together

    assert 700 == dispatcher.depth(queue)
    assert 700 == len({one.headers["id"] for one in take(rabbitmq_node, queue)})


def test_queue_of_other_arguments_is_used_as_it_is(
    rabbitmq_node: RabbitMq, app: Celery, queue: str
) -> None:
    with rabbitmq_node.channel() as channel:
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-max-length": 9})

    CeleryDispatcher(app).send([batch(1, queue)])

    assert 1 == len(take(rabbitmq_node, queue))


def test_queue_that_must_not_be_created_is_said(rabbitmq_node: RabbitMq, queue: str) -> None:
    with make_app("flowq-test", rabbitmq_node.url) as app:
        app.conf.task_create_missing_queues = False
        with pytest.raises(BrokerUnavailable, match="task_create_missing_queues forbids"):
            CeleryDispatcher(app).send([batch(1, queue)])


def test_worker_whose_queue_has_other_arguments_is_refused(
    rabbitmq_node: RabbitMq, queue: str
) -> None:
    """It would connect again for ever; a queue that fits, or is not there, is left as it is."""
    with make_app("flowq-test", rabbitmq_node.url) as app:
        app.conf.task_default_queue = queue
        check_queues(app)
        with rabbitmq_node.channel() as channel, pytest.raises(NotFound):
            channel.queue_declare(queue, passive=True)
        CeleryDispatcher(app).send_collect()
        check_queues(app)

        app.conf.task_queue_max_priority = None
        del app.amqp.queues
        with pytest.raises(InvalidSetting, match="x-max-priority") as caught:
            check_queues(app)
    assert "task_default_queue" in (caught.value.hint or "")
    assert 1 == len(take(rabbitmq_node, queue))


def test_urgent_messages_are_taken_first(rabbitmq_node: RabbitMq, app: Celery, queue: str) -> None:
    dispatcher = CeleryDispatcher(app)
    for priority, index in ((0, 0), (3, 1), (9, 2), (0, 3), (9, 4)):
        dispatcher.send([Batch(BATCH, (item(index, queue),), in_chord=False, priority=priority)])

    taken = [UUID(one.headers["id"]) for one in take(rabbitmq_node, queue)]

    assert [item_id(NODE, index) for index in (2, 4, 1, 0, 3)] == taken


def test_message_that_the_broker_refuses_is_noticed(
    rabbitmq_node: RabbitMq, app: Celery, queue: str
) -> None:
    """Plain AMQP would lose it in silence."""
    limits = {"x-max-length": 3, "x-overflow": "reject-publish"}
    with rabbitmq_node.channel() as channel:
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=limits)

    with pytest.raises(BrokerUnavailable, match="refused 7 messages"):
        CeleryDispatcher(app).send([batch(10, queue)])

    assert 3 == len(take(rabbitmq_node, queue))


@pytest.mark.parametrize("confirms", [True, False])
def test_connection_that_the_broker_has_closed_is_replaced(
    rabbitmq_node: RabbitMq, app: Celery, queue: str, *, confirms: bool
) -> None:
    """As after a restart of the node; the app of a user need not confirm by itself."""
    app.conf.broker_transport_options = {"confirm_publish": confirms}
    dispatcher = CeleryDispatcher(app)
    dispatcher.send([batch(1, queue)])
    with app.producer_or_acquire() as producer:
        raw: Any = producer.connection.connection
        raw.transport.sock.shutdown(0)  # what the broker does, seen from here

    dispatcher.send([batch(1, queue)])

    assert 2 == dispatcher.depth(queue)


def test_depth_of_queues(app: Celery, queue: str) -> None:
    dispatcher = CeleryDispatcher(app)
    assert 0 == dispatcher.depth(queue)  # there is none

    dispatcher.send([batch(7, queue)])

    assert 7 == dispatcher.depth(queue)
    assert [] == dispatcher.workers(timedelta(seconds=0.3))


def test_broker_that_is_away_is_said_soon_and_without_its_password() -> None:
    away = "amqp://user:SECRET@127.0.0.1:{}//"
    with servers.closed_port() as port, make_app("flowq-test", away.format(port)) as app:
        dispatcher = CeleryDispatcher(app)
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="does not take messages") as caught:
            dispatcher.send([batch(3, "celery")])
        assert time.monotonic() - began < 100
        with pytest.raises(BrokerUnavailable, match="not tried again yet"):
            dispatcher.depth("celery")

    assert "SECRET" not in str(caught.value)


def test_broker_that_confirms_nothing_is_given_up(
    app: Celery, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is out of memory; what it takes after all is a duplicate, and harmless."""
    dispatcher = CeleryDispatcher(app)
    dispatcher.send([batch(1, queue)])
    monkeypatch.setattr("flowq.adapters.dispatch.amqp._PATIENCE", 0.2)

    with app.producer_or_acquire() as producer:
        found: Any = producer.connection.connection
        monkeypatch.setattr(found.flowq_channel, "_forget", lambda *_, **__: 0)
    with pytest.raises(BrokerUnavailable, match=r"no message was confirmed for 0\.2 s"):
        dispatcher.send([batch(1, queue)])
