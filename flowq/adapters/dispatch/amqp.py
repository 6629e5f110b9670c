"""Publishing to RabbitMQ so that a lost message is noticed.

AMQP answers no publish. A broker that dies, or that has no such queue, drops messages in silence.
So flowq publishes on a channel of its own in confirm mode, many messages at a time, and then waits
until the broker has confirmed them all. Each is mandatory: one whose queue does not exist comes
back, the queue is declared as the app declares it, and the message is published again. A client may
thus send before the first worker runs, and nothing is declared while queues exist.

A connection that the broker has closed while nobody used it is replaced before the first message.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import amqp
from celery import Celery
from kombu.entity import maybe_delivery_mode
from kombu.exceptions import OperationalError

from flowq.core.errors import InvalidSetting

logger = logging.getLogger(__name__)

#: Messages that are published before their confirmations are awaited.
_WINDOW: Final = 500
#: Seconds in which the broker has to take, or to confirm, at least one message.
_PATIENCE: Final = 5.0
#: Where py-amqp's connection keeps this channel, so that they end together.
_ATTRIBUTE: Final = "flowq_channel"


def is_amqp(connection: Any) -> bool:
    """Return whether a kombu connection speaks AMQP through py-amqp, as `amqp://` does."""
    return bool(connection.transport.driver_name == "py-amqp")


def refresh(connection: Any) -> None:
    """Connect a kombu connection of the pool, again if the broker has closed it meanwhile.

    Raises:
        OSError: the broker cannot be reached.
    """
    if connection.connected:
        try:
            connection.drain_events(timeout=0)
        except TimeoutError:
            return  # nothing to read: it is open
        except (*connection.connection_errors, *connection.channel_errors):
            connection.collect()
    if not connection.connected:
        connection.connect()


def check_queues(app: Celery) -> None:
    """Check that the queues that an app's workers consume have the arguments of the app.

    RabbitMQ refuses to declare a queue with other arguments than it has, and a worker would connect
    again for ever. Queues that do not exist yet, and a broker that does not answer, are no mistake.

    Raises:
        InvalidSetting: a queue has other arguments.
    """
    try:
        connection: Any = app.connection_for_write()
        if not is_amqp(connection):
            return
        with connection:
            connection.ensure_connection(max_retries=1, timeout=_PATIENCE)
            for name, queue in app.amqp.queues.consume_from.items():
                _check_queue(connection, name, queue)
    except (OperationalError, OSError, amqp.ConnectionError) as error:
        logger.debug("queues are not checked: %s", error)


def _check_queue(connection: Any, name: str, queue: Any) -> None:
    try:
        with connection.channel() as channel:
            channel.queue_declare(name, passive=True)
            queue(channel).queue_declare()
    except amqp.NotFound:
        return  # the worker declares it
    except amqp.PreconditionFailed as error:
        raise InvalidSetting(
            f"queue {name!r} exists on RabbitMQ, with other arguments than the app has for it: "
            f"{error.reply_text}",
            hint="set task_default_queue to another name, or delete this queue when it is empty, "
            "or set what it has: task_queue_max_priority is its x-max-priority, None for none",
        ) from None


@contextmanager
def publishing(app: Celery, connection: Any) -> Iterator["ConfirmedPublisher"]:
    """Yield what publishes on a kombu connection; at the end the broker has all messages.

    After an error nobody knows what the broker has taken, so the connection is dropped: late
    confirmations must not be counted for later messages.

    Raises:
        OperationalError: the broker refuses messages, or has no queue for them.
        OSError: it does not answer.
    """
    refresh(connection)
    try:
        publisher = ConfirmedPublisher(app, connection)
        yield publisher
        publisher.confirm()
    except BaseException:
        connection.collect()
        raise


class ConfirmedPublisher:
    """Publishes messages of an app, and waits for their confirmations.

    Args:
        app: Says how queues are declared, and whether messages survive a restart of the broker.
        connection: A kombu connection, which no other thread uses meanwhile.
    """

    def __init__(self, app: Celery, connection: Any) -> None:
        self._app = app
        self._connection = connection
        self._channel = _channel(connection)
        mode = maybe_delivery_mode(app.conf.task_default_delivery_mode)
        self._properties = {"delivery_mode": mode}

    def publish(
        self, body: str, *, routing_key: str, headers: dict[str, Any], **options: Any
    ) -> None:
        """Publish a message to a queue.

        Args:
            body: The content.
            routing_key: Name of the queue.
            headers: Those of the message.
            options: `content_type`, `content_encoding` and `priority`, as kombu takes them; the
                exchange is the default one.

        Raises:
            OperationalError: the broker has refused messages.
        """
        options.pop("exchange", None)
        message = self._channel.raw.prepare_message(
            body, headers=headers, properties=self._properties, **options
        )
        self._channel.publish(routing_key, message)
        if len(self._channel.unconfirmed) >= _WINDOW:
            self.confirm()

    def confirm(self) -> None:
        """Wait until the broker has taken everything that was published.

        Raises:
            OperationalError: it has refused some, or has no queue for them.
            OSError: it does not answer, or the connection is lost.
        """
        returned = self._channel.confirm()
        if not returned:
            return
        for name in {name for name, _ in returned}:
            self._declare(name)
        for name, message in returned:
            self._channel.publish(name, message)
        lost = sorted({name for name, _ in self._channel.confirm()})
        if lost:
            raise OperationalError(f"messages reach no queue: {', '.join(lost)}")

    def _declare(self, name: str) -> None:
        """Declare a queue, with the arguments that the app's workers declare it with."""
        try:
            queue = self._app.amqp.queues[name]
        except KeyError:
            raise OperationalError(
                f"there is no queue {name!r}, and task_create_missing_queues forbids to create it"
            ) from None
        try:
            # A channel of its own: an error would close that of the publisher.
            with self._connection.channel() as channel:
                queue(channel).declare()
        except amqp.PreconditionFailed:
            return  # somebody has declared it meanwhile, with other arguments: it exists


def _channel(connection: Any) -> "_ConfirmingChannel":
    """Return the channel for this on an open connection."""
    attributes: dict[str, Any] = connection.connection.__dict__
    found: _ConfirmingChannel | None = attributes.get(_ATTRIBUTE)
    if found is None or not found.raw.is_open:
        found = attributes[_ATTRIBUTE] = _ConfirmingChannel(connection.channel())
    return found


class _ConfirmingChannel:
    """A channel of py-amqp in confirm mode.

    Attributes:
        raw: The channel.
        unconfirmed: The messages that wait, by the number that the broker counts them with.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.unconfirmed: dict[int, bool] = {}
        self._sent = 0
        self._refused = 0
        self._returned: list[tuple[str, Any]] = []
        raw.confirm_select()
        raw.events["basic_ack"].add(self._on_ack)
        raw.events["basic_nack"].add(self._on_nack)
        raw.events["basic_return"].add(self._on_return)

    def publish(self, queue: str, message: Any) -> None:
        """Publish a message, and do not wait for it."""
        # With `confirm_publish` the instance has a method that waits for each message.
        amqp.Channel.basic_publish(
            self.raw, message, routing_key=queue, mandatory=True, timeout=_PATIENCE
        )
        self._sent += 1
        self.unconfirmed[self._sent] = True

    def confirm(self) -> list[tuple[str, Any]]:
        """Wait for all confirmations; return the messages that found no queue, with its name.

        Raises:
            OperationalError: the broker has refused messages.
            OSError: it does not answer.
        """
        while self.unconfirmed:
            try:
                self.raw.connection.drain_events(timeout=_PATIENCE)
            except TimeoutError:
                raise TimeoutError(
                    f"no message was confirmed for {_PATIENCE:g} s; the broker may be out of "
                    "memory or disk space"
                ) from None
        if self._refused:
            raise OperationalError(f"the broker has refused {self._refused} messages")
        returned, self._returned = self._returned, []
        return returned

    def _on_ack(self, number: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's
        self._forget(number, multiple=multiple)

    def _on_nack(self, number: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's
        self._refused += self._forget(number, multiple=multiple)

    def _on_return(self, _error: Exception, _exchange: str, queue: str, message: Any) -> None:
        self._returned.append((queue, message))

    def _forget(self, number: int, *, multiple: bool) -> int:
        ended = [one for one in self.unconfirmed if one <= number] if multiple else [number]
        return sum(self.unconfirmed.pop(one, False) for one in ended)
