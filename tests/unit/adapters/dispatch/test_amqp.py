"""Confirmed publishing, against a broker that is played: every answer that RabbitMQ may give."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import amqp
import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from flowq.adapters.dispatch import amqp as publishing


class Broker:
    """As much of a kombu connection, of its channels and of RabbitMQ as is used.

    Attributes:
        queues: What each queue holds.
        answers: Whether it answers at all.
        multiple: Whether it confirms many messages at once.
        refuses: Says which messages it refuses, by their number.
    """

    transport = type("Transport", (), {"driver_name": "py-amqp"})
    connection_errors = (OSError,)
    channel_errors = (amqp.exceptions.ChannelError,)

    def __init__(self, *queues: str) -> None:
        self.queues: dict[str, list[str]] = {name: [] for name in queues}
        self.answers = True
        self.multiple = False
        self.refuses: Callable[[int], bool] = lambda _: False
        self.connected = self.is_open = True
        self.is_reset = False
        self.collected = 0
        self.properties: list[Any] = []
        self.declared: list[tuple[str, Any]] = []
        self.events: dict[str, set[Any]] = defaultdict(set)
        self._waiting: list[Callable[[], None]] = []
        self._count = 0
        self.most_waiting = 0

    @property
    def connection(self) -> "Broker":
        return self

    def connect(self) -> None:
        self.connected = True

    def collect(self) -> None:
        self.collected += 1
        self.connected = self.is_reset = False
        self.__dict__.pop("flowq_channel", None)

    def channel(self) -> "Broker":
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def confirm_select(self) -> None:
        self._count = 0

    def prepare_message(self, body: str, **given: Any) -> Any:
        self.properties.append(given["properties"])
        return {"body": body, **given}

    def take(self, message: Any, *, routing_key: str, mandatory: bool, timeout: float) -> None:
        assert mandatory
        assert timeout
        self._count += 1
        number = self._count
        if routing_key not in self.queues:
            error = amqp.exceptions.ChannelError("NO_ROUTE")
            self._tell("basic_return", error, "", routing_key, message)
            self._tell("basic_ack", number, False)
        elif self.refuses(number):
            self._tell("basic_nack", number, False)
        else:
            self.queues[routing_key].append(message["body"])
            if not self.multiple:
                self._tell("basic_ack", number, False)
            elif not number % 7:
                self._tell("basic_ack", number, True)
        self.most_waiting = max(self.most_waiting, len(self._waiting))

    def drain_events(self, timeout: float) -> None:
        if self.is_reset:
            raise ConnectionResetError
        if not self._waiting or not self.answers:
            if not (self.multiple and timeout and self.answers):
                raise TimeoutError
            self._tell("basic_ack", self._count, True)
        self._waiting.pop(0)()

    def _tell(self, event: str, *arguments: Any) -> None:
        def tell() -> None:
            for listener in self.events[event]:
                listener(*arguments)

        self._waiting.append(tell)


@pytest.fixture(autouse=True)
def _played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp.Channel, "basic_publish", Broker.take)


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("test", broker="amqp://nowhere//", set_as_current=False) as app:
        yield app


@contextmanager
def declaring(app: Celery, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the played broker take the declarations of queues."""

    def declare(queue: Any, **_: Any) -> None:
        broker.declared.append((queue.name, queue.queue_arguments))
        broker.queues.setdefault(queue.name, [])

    with monkeypatch.context() as patch:
        patch.setattr("kombu.Queue.__call__", lambda queue, _channel: queue)
        patch.setattr("kombu.Queue.declare", declare)
        yield


def send(app: Celery, broker: Broker, count: int, queue: str = "celery") -> None:
    with publishing.publishing(app, broker) as publisher:
        for number in range(count):
            publisher.publish(str(number), routing_key=queue, headers={}, exchange="")


@pytest.mark.parametrize("multiple", [True, False])
@pytest.mark.parametrize("count", [0, 1, 499, 500, 1_201])
def test_all_messages_are_taken_in_order_and_awaited(
    app: Celery, count: int, *, multiple: bool
) -> None:
    broker = Broker("celery")
    broker.multiple = multiple
    for _ in range(2):  # the second time on the same channel
        send(app, broker, count)

    assert [str(number) for number in range(count)] * 2 == broker.queues["celery"]
    assert broker.most_waiting <= 500
    assert not broker.collected


def test_missing_queue_is_declared_and_the_message_sent_again(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.task_queue_max_priority = 5
    broker = Broker("celery")
    with declaring(app, broker, monkeypatch):
        send(app, broker, 3, "slow")
        send(app, broker, 1, "slow")

    assert [("slow", {"x-max-priority": 5})] == broker.declared
    assert ["0", "1", "2", "0"] == broker.queues["slow"]


def test_queue_that_cannot_be_declared_is_said(app: Celery) -> None:
    app.conf.task_create_missing_queues = False
    broker = Broker()

    with pytest.raises(OperationalError, match="no queue 'slow'"):
        send(app, broker, 3, "slow")
    assert 1 == broker.collected


def test_message_that_is_still_returned_is_said(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker()
    with monkeypatch.context() as patch:
        patch.setattr(publishing.ConfirmedPublisher, "_declare", lambda *_: None)
        with pytest.raises(OperationalError, match="reach no queue: slow"):
            send(app, broker, 2, "slow")


def test_refused_messages_are_counted(app: Celery) -> None:
    broker = Broker("celery")
    broker.refuses = lambda number: number > 3

    with pytest.raises(OperationalError, match="refused 7 messages"):
        send(app, broker, 10)
    assert 1 == broker.collected


def test_broker_that_does_not_answer_is_given_up_with_its_connection(app: Celery) -> None:
    """A late confirmation must not be counted for a later message."""
    broker = Broker("celery")
    broker.answers = False

    with pytest.raises(TimeoutError, match="no message was confirmed"):
        send(app, broker, 2)

    assert 1 == broker.collected


def test_connection_that_is_closed_meanwhile_is_replaced(app: Celery) -> None:
    broker = Broker("celery")
    send(app, broker, 1)

    broker.is_reset = True
    send(app, broker, 1)

    assert 1 == broker.collected
    assert ["0", "0"] == broker.queues["celery"]


@pytest.mark.parametrize("name, mode", [("persistent", 2), ("transient", 1)])
def test_delivery_mode_is_that_of_the_app(app: Celery, name: str, mode: int) -> None:
    app.conf.task_default_delivery_mode = name
    broker = Broker("celery")
    send(app, broker, 1)

    assert [{"delivery_mode": mode}] == broker.properties
