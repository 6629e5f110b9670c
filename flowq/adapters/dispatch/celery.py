"""Batches as Celery messages: a chord for many steps, a group for few, a plain task for one.

Messages are built here instead of by `apply_async`, which spends more than a millisecond on each;
they go out pipelined, through kombu's `Producer.batch`. A message holds ids and nothing else, so
its size does not depend on the flow: the task's id is the step run's, its root is the run, its
group is the batch. The chord's body and its error callback are both `flowq.advance`.

Chords need Celery's Redis result backend. With another one a batch is sent as plain tasks, each of
which advances by itself: slower, same outcome. On RabbitMQ messages are confirmed (see `amqp`).
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from celery import Celery
from celery.app.routes import MapRoute
from celery.backends.redis import RedisBackend
from celery.utils import uuid
from kombu import Producer

# BatchPublishError is newer than the published types.
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]
from redis.exceptions import RedisError
from typing_extensions import override

from flowq.adapters.breaker import CircuitBreaker
from flowq.adapters.dispatch import amqp
from flowq.adapters.dispatch.acknowledgements import RECORDED
from flowq.adapters.dispatch.addresses import broker_urls
from flowq.adapters.dispatch.inspect_workers import inspect_workers
from flowq.adapters.dispatch.kombu_patches import patch_kombu
from flowq.adapters.dispatch.priorities import broker_priority
from flowq.core.errors import BrokerUnavailable
from flowq.core.ids import BatchId
from flowq.core.text.masking import masked, without_secrets
from flowq.engine.model.rows import Batch, Message
from flowq.engine.ports import ADVANCE_TASK, Dispatcher, Worker

logger = logging.getLogger(__name__)

ADVANCE: Final = ADVANCE_TASK
COLLECT: Final = "flowq.collect"
SCHEDULE: Final = "flowq.schedule"
START: Final = "flowq.start"
_HINT: Final = "check that the broker runs, and the app's broker_url; then: flowq doctor"
#: What a broker that is away raises; anything else is logged with its traceback.
_EXPECTED: Final = (OperationalError, BatchPublishError, RedisError, OSError)
#: Redis commands that travel together.
_PIPELINE: Final = 500
#: Seconds in which workers that have answered are not asked again.
_KNOWN_FOR: Final = 5.0
_ALONE: Final = json.dumps([[], {}, {}], separators=(",", ":"))

Publisher: TypeAlias = Producer | amqp.ConfirmedPublisher


class CeleryDispatcher(Dispatcher):
    """Implements `flowq.engine.ports.Dispatcher` on a Celery app.

    Args:
        app: Whose broker and routes are used.
        hint: What to do when the broker does not take messages.
        context: Returns headers that carry the trace to the worker.
    """

    def __init__(
        self,
        app: Celery,
        hint: str = _HINT,
        context: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        patch_kombu()
        self._app = app
        self._hint = hint
        self._context = context
        self._breaker = CircuitBreaker(patience=10)
        self._asking = threading.Lock()
        self._workers: tuple[float, list[Worker]] | None = None
        self._router: object = None
        self._known: dict[str, str] = {}  # the queues of tasks, by name

    @override
    def send(self, batches: Sequence[Batch]) -> None:
        context = self._context()
        with self._producer(sum(len(batch.messages) for batch in batches)) as producer:
            for batch in batches:
                in_chord = batch.in_chord and isinstance(self._app.backend, RedisBackend)
                if in_chord:
                    self._app.backend.set_chord_size(batch.id, len(batch.messages))
                priority = _priority(producer, batch.priority)
                body = _chord(batch.id, priority) if in_chord else _ALONE
                for index, message in enumerate(batch.messages):
                    headers = {**_headers(message), **context}
                    if in_chord:
                        headers |= {"group": batch.id, "group_index": index}
                    name = message.shadow or message.name
                    queue = message.queue or self._known_queue(name)
                    self._publish(producer, name, queue, headers, body=body, priority=priority)

    @override
    def send_advance(
        self, batches: Sequence[BatchId], delay: timedelta | None = None, priority: int = 0
    ) -> None:
        due = None if delay is None else (datetime.now(UTC) + delay).isoformat()
        with self._producer(len(batches)) as producer:
            for batch in batches:
                headers = {"task": ADVANCE, "id": f"advance-{batch}", "ignore_result": True}
                headers |= {"argsrepr": f"({batch!r},)", "kwargsrepr": "{}"}
                headers |= {"eta": due} if due is not None else {}
                own = _priority(producer, priority)
                self._publish(producer, ADVANCE, None, headers, body=_body([batch]), priority=own)

    @override
    def send_collect(self) -> None:
        with self._producer(1) as producer:
            headers = {"task": COLLECT, "id": uuid(), "ignore_result": True}
            headers |= {"argsrepr": "()", "kwargsrepr": "{}"}
            self._publish(producer, COLLECT, None, headers, body=_body([]))

    @override
    def send_schedules(self, due: Sequence[tuple[str, str]]) -> None:
        self._ask(SCHEDULE, due)

    @override
    def send_requested(self, due: Sequence[tuple[str, str]]) -> None:
        self._ask(START, due)

    def _ask(self, task: str, due: Sequence[tuple[str, str]]) -> None:
        """Send what is due of flows, by name, to the queues of the flows."""
        with self._producer(len(due)) as producer:
            for name, flow in due:
                headers = {"task": task, "id": uuid(), "ignore_result": True}
                headers |= {"argsrepr": f"({name!r},)", "kwargsrepr": "{}"}
                self._publish(producer, task, self._queue(flow), headers, body=_body([name]))

    @override
    def queue_of(self, message: Message) -> str:
        """Return the name of the queue that a message goes to.

        Raises:
            BrokerUnavailable: the app's routes do not say.
        """
        try:
            return message.queue or self._queue(message.shadow or message.name)
        except Exception as error:
            raise BrokerUnavailable(
                f"the queue of {message.name} is not known: {type(error).__name__}: {error}",
                hint=f"check the task_routes of app {self._app.main!r}",
            ) from error

    @override
    def depth(self, queue: str) -> int:
        with self._connected() as producer:
            connection: Any = producer.connection
            try:
                if amqp.is_amqp(connection):
                    amqp.refresh(connection)
                elif not connection.connected:
                    connection.connect()  # it was closed after an error, and stays in the pool
                # A channel of its own: some brokers close it when there is no such queue.
                with connection.channel() as channel:
                    return int(channel.queue_declare(queue=queue, passive=True).message_count)
            except connection.channel_errors:
                return 0

    @override
    def workers(self, patience: timedelta) -> Sequence[Worker]:
        with self._asking:
            known = self._workers
            if known is None or time.monotonic() - known[0] > _KNOWN_FOR:
                known = self._workers = time.monotonic(), inspect_workers(self._app, patience)
            return known[1]

    def _publish(
        self,
        producer: Publisher,
        name: str,
        queue: str | None,
        headers: dict[str, Any],
        *,
        body: str,
        priority: int | None = None,
    ) -> None:
        producer.publish(
            body,
            exchange="",
            routing_key=queue or self._queue(name),
            headers=headers | {RECORDED: True},
            content_type="application/json",
            content_encoding="utf-8",
            priority=priority,  # type: ignore[arg-type]  # None is kombu's own default
        )

    def _known_queue(self, name: str) -> str:
        """Return the queue of a task; asked once for each router, if its routes are only tables."""
        router: Any = self._app.amqp.router
        if router is not self._router:
            self._router, self._known = router, {}
        queue = self._known.get(name)
        if queue is None:
            queue = self._queue(name)
            if all(isinstance(one, MapRoute) for one in router.routes):
                self._known[name] = queue
        return queue

    def _queue(self, name: str) -> str:
        """Return the queue of a task as Celery chooses it: its own, or that of `task_routes`."""
        task = self._app.tasks.get(name)
        own = getattr(task, "queue", None)  # of `task_annotations`, or set on the task
        route = self._app.amqp.router.route({"queue": own} if own else {}, name)
        queue = route.get("queue") or self._bound_to(route)
        return str(getattr(queue, "name", queue) or self._app.conf.task_default_queue)

    def _bound_to(self, route: dict[str, Any]) -> Any:
        """Return the queue that a route without a queue leads to, by its routing key."""
        key = route.get("routing_key")
        queues = self._app.amqp.queues.values() if key else ()
        return next((queue for queue in queues if queue.routing_key == key), None)

    @contextmanager
    def _producer(self, messages: int) -> Iterator[Publisher]:
        """Yield what publishes a number of messages; at the end the broker has them all."""
        with self._connected() as producer:
            if amqp.is_amqp(producer.connection):
                with amqp.publishing(self._app, producer.connection) as confirmed:
                    yield confirmed
                return
            batching: Any = producer  # `batch` is newer than the published types
            with batching.batch(max_size=_PIPELINE) if messages > 1 else nullcontext():
                yield producer

    @contextmanager
    def _connected(self) -> Iterator[Producer]:
        """Yield a producer; whatever is raised on the way of a message leaves as one kind of error.

        Messages follow a commit: what is wrong with a broker, its address, its client library or
        the app's routes must not look to the caller as if nothing had been recorded.
        """
        if not self._breaker.allows():
            raise BrokerUnavailable(
                "the broker did not take messages a moment ago, and is not tried again yet",
                hint="flowq doctor",
            )
        try:
            with self._app.producer_or_acquire() as producer:
                yield producer
            self._breaker.record_success()
        except Exception as error:  # noqa: BLE001 - see above
            self._breaker.record_failure()
            raise self._failed(error) from (error if isinstance(error, _EXPECTED) else None)

    def _failed(self, error: Exception) -> BrokerUnavailable:
        """Return what a failure to send is told as; what no broker raises that is away is logged.

        It is not kept as a cause: Python's errors about an address quote pieces of its password.
        """
        urls = broker_urls(self._app)
        text = str(error)
        if not isinstance(error, _EXPECTED):
            text = f"{type(error).__name__}: {text}"
            if without_secrets(text, *urls) == text:
                logger.error("messages cannot be sent", exc_info=error, extra={"action": "send"})
        place = ";".join(map(masked, urls)) or f"of app {self._app.main!r}"
        return BrokerUnavailable(
            f"the broker {place} does not take messages: {without_secrets(text, *urls)}",
            hint=self._hint,
        )


def _priority(producer: Publisher, priority: int) -> int | None:
    if not priority or isinstance(producer, amqp.ConfirmedPublisher):
        return priority or None
    connection: Any = producer.connection  # there is one once it was acquired
    return broker_priority(connection, priority)


def _headers(message: Message) -> dict[str, Any]:
    shadow = {} if message.shadow is None else {"shadow": message.shadow}
    return shadow | {
        "task": message.name,
        "id": str(message.id),
        "root_id": str(message.run_id),
        "ignore_result": True,
        "argsrepr": message.label,
        "kwargsrepr": "",
    }


def _chord(batch: BatchId, priority: int | None) -> str:
    own = {} if priority is None else {"priority": priority}
    errback = _signature([batch], own)
    return _body([], chord=_signature([batch], {"link_error": [errback], **own}))


def _signature(args: Iterable[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return a Celery signature as plain data; immutable, so that no results are put into it."""
    return {
        "task": ADVANCE,
        "args": list(args),
        "kwargs": {},
        "options": options,
        "immutable": True,
    }


def _body(args: list[Any], **embed: Any) -> str:
    return json.dumps([args, {}, embed], separators=(",", ":"))
