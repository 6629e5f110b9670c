"""What every `Dispatcher` does: each step run of a batch goes out once, as ids and routing.

Celery's messages are read from the broker as a worker would find them.
"""

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from traceback import format_exception
from typing import Any, cast
from uuid import UUID

import pytest
import redis
import uuid_utils.compat as uuids
from celery import Celery
from kombu import Exchange, Queue

from flowq.adapters.dispatch.addresses import check_app
from flowq.adapters.dispatch.app import make_app
from flowq.adapters.dispatch.celery import ADVANCE, COLLECT, CeleryDispatcher
from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.core.errors import BrokerUnavailable, InvalidSetting
from flowq.core.ids import BatchId, RunId, batch_of_items, batch_of_run, item_id, node_id
from flowq.engine.model.rows import Batch, Message
from flowq.engine.ports import Dispatcher

DEFAULT = "celery"
MAX_BYTES = 1024
RUN = RunId(uuids.uuid7())
NODE = node_id(RUN, "measure")
BATCH = batch_of_items(NODE)


@dataclass(frozen=True)
class Sent:
    """What a worker finds, whatever it came through."""

    name: str
    id: UUID | None = None
    root: UUID | None = None
    label: str = ""
    queue: str = DEFAULT
    in_chord: BatchId | None = None
    advances: BatchId | None = None


@dataclass(frozen=True)
class Place:
    """A dispatcher, and what it has sent so far, first message first."""

    dispatcher: Dispatcher
    sent: Callable[[], list[Sent]]


def in_process() -> Place:
    dispatcher = InProcessDispatcher()

    def sent() -> list[Sent]:
        found = []
        for one in dispatcher.waiting:
            message = one.message
            if one.batch is None:
                found.append(Sent(COLLECT))
                continue
            if message is None:
                found.append(Sent(ADVANCE, advances=one.batch))
                continue
            queue = message.queue or DEFAULT
            in_chord = one.batch if one.in_chord else None
            found.append(
                Sent(message.name, message.id, message.run_id, message.label, queue, in_chord)
            )
        return found

    return Place(dispatcher, sent)


def raw(client: redis.Redis, queue: str = DEFAULT) -> list[bytes]:
    found = client.lrange(queue, 0, -1)
    return cast("list[bytes]", found)[::-1]


def decoded(data: bytes) -> tuple[dict[str, Any], list[Any]]:
    """Return the headers of a message and its args, kwargs and embedded signatures."""
    message = json.loads(data)
    return message["headers"], json.loads(base64.b64decode(message["body"]))


def on_celery(app: Celery, client: redis.Redis) -> Place:
    def sent() -> list[Sent]:
        found = []
        for queue in (DEFAULT, "slow"):
            for data in raw(client, queue):
                headers, (args, kwargs, _embedded) = decoded(data)
                assert kwargs == {}
                if headers["task"] == ADVANCE:
                    found.append(Sent(ADVANCE, queue=queue, advances=args[0]))
                    continue
                assert args == []
                if headers["task"] == COLLECT:
                    found.append(Sent(COLLECT, queue=queue))
                    continue
                ids = (UUID(headers["id"]), UUID(headers["root_id"]))
                name, label, in_chord = headers["task"], headers["argsrepr"], headers.get("group")
                found.append(Sent(name, *ids, label, queue, in_chord))
        return found

    return Place(CeleryDispatcher(app), sent)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        yield client


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    app = make_app("flowq-test", redis_url)
    yield app
    app.close()


@pytest.fixture(params=["in process", "celery"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "in process":
        return in_process()
    return on_celery(request.getfixturevalue("app"), request.getfixturevalue("client"))


def item(index: int, queue: str | None = None) -> Message:
    return Message(item_id(NODE, index), RUN, "steps.measure", f"measure[{index}]", queue)


def batch(size: int, *, in_chord: bool) -> Batch:
    return Batch(BATCH, tuple(item(index) for index in range(size)), in_chord)


def as_sent(index: int, in_chord: BatchId | None = None, queue: str = DEFAULT) -> Sent:
    return Sent("steps.measure", item_id(NODE, index), RUN, f"measure[{index}]", queue, in_chord)


# --- every dispatcher ----------------------------------------------------------------------------


def test_one_step_is_a_plain_message(place: Place) -> None:
    place.dispatcher.send([batch(1, in_chord=False)])

    assert place.sent() == [as_sent(0)]


def test_few_steps_are_messages_that_advance_by_themselves(place: Place) -> None:
    place.dispatcher.send([batch(5, in_chord=False)])

    assert place.sent() == [as_sent(index) for index in range(5)]


@pytest.mark.parametrize("size", [2, 1200])
def test_joined_steps_know_their_batch(place: Place, size: int) -> None:
    """More than one pipeline of Redis commands, too: none is lost, none comes twice."""
    place.dispatcher.send([batch(size, in_chord=True)])

    assert place.sent() == [as_sent(index, BATCH) for index in range(size)]


def test_batches_of_one_call_keep_to_themselves(place: Place) -> None:
    node = node_id(RUN, "report")
    alone = Message(node, RUN, "steps.report", "report")
    place.dispatcher.send(
        [batch(2, in_chord=True), Batch(batch_of_items(node), (alone,), in_chord=False)]
    )

    expected = [as_sent(0, BATCH), as_sent(1, BATCH), Sent("steps.report", node, RUN, "report")]
    assert place.sent() == expected


def test_a_step_goes_to_its_own_queue(place: Place) -> None:
    place.dispatcher.send([Batch(BATCH, (item(0), item(1, "slow")), in_chord=False)])

    assert place.sent() == [as_sent(0), as_sent(1, queue="slow")]


def test_nothing_is_sent_for_nothing(place: Place) -> None:
    place.dispatcher.send([])
    place.dispatcher.send_advance([])

    assert place.sent() == []


def test_batches_are_asked_to_advance(place: Place) -> None:
    batches = [BATCH, batch_of_run(RUN)]
    place.dispatcher.send_advance(batches)

    assert place.sent() == [Sent(ADVANCE, advances=one) for one in batches]


def test_what_is_sent_twice_comes_twice(place: Place) -> None:
    """The claim makes the second one harmless; a dispatcher must not be clever."""
    place.dispatcher.send([batch(1, in_chord=False)])
    place.dispatcher.send([batch(1, in_chord=False)])

    assert place.sent() == [as_sent(0)] * 2


def test_someone_is_asked_to_collect(place: Place) -> None:
    place.dispatcher.send_collect()

    assert place.sent() == [Sent(COLLECT)]


def test_each_queue_has_its_own_depth(place: Place) -> None:
    dispatcher = place.dispatcher
    assert [dispatcher.queue_of(item(0)), dispatcher.queue_of(item(1, "slow"))] == [DEFAULT, "slow"]
    assert dispatcher.depth(DEFAULT) == 0

    dispatcher.send([batch(7, in_chord=True), Batch(BATCH, (item(8, "slow"),), in_chord=False)])

    assert [dispatcher.depth(queue) for queue in (DEFAULT, "slow", "none")] == [7, 1, 0]


# --- Celery alone --------------------------------------------------------------------------------


def test_every_message_is_small_and_holds_nothing_but_ids(app: Celery, client: redis.Redis) -> None:
    """However large the batch; the label is all that people see of a step in Flower."""
    dispatcher = CeleryDispatcher(app)
    many = tuple(item(index) for index in range(9_990, 10_000))
    dispatcher.send([Batch(BATCH, many, in_chord=True), batch(1, in_chord=False)])
    dispatcher.send_advance([BATCH])

    messages = raw(client)
    assert len(messages) == 12
    assert max(map(len, messages)) <= MAX_BYTES
    for data in messages[:-1]:
        headers, (args, kwargs, _) = decoded(data)
        assert (args, kwargs) == ([], {})
        assert headers["ignore_result"] is True
        assert headers.keys() <= {
            *("task", "id", "root_id", "ignore_result", "argsrepr", "kwargsrepr"),
            *("group", "group_index", "recorded"),
        }


def test_a_chord_ends_in_advance_however_its_steps_end(app: Celery, client: redis.Redis) -> None:
    CeleryDispatcher(app).send([batch(3, in_chord=True)])

    for index, data in enumerate(raw(client)):
        headers, (_, _, embedded) = decoded(data)
        assert headers["group_index"] == index
        body = embedded["chord"]
        (failed,) = body["options"]["link_error"]
        assert (body["task"], body["args"], body["immutable"]) == (ADVANCE, [BATCH], True)
        assert (failed["task"], failed["args"], failed["immutable"]) == (ADVANCE, [BATCH], True)
    backend: Any = app.backend
    size = client.get(backend.get_key_for_group(BATCH, ".s"))
    assert isinstance(size, bytes)
    assert int(size) == 3


def test_without_the_redis_backend_every_step_advances_by_itself(
    redis_url: str, client: redis.Redis
) -> None:
    with Celery("no-backend", broker=redis_url) as app:
        place = on_celery(app, client)
        place.dispatcher.send([batch(3, in_chord=True)])

        assert place.sent() == [as_sent(index) for index in range(3)]


def test_task_routes_of_the_app_choose_the_queue(app: Celery, client: redis.Redis) -> None:
    app.conf.task_routes = {"steps.measure": {"queue": "slow"}}
    place = on_celery(app, client)

    place.dispatcher.send([batch(1, in_chord=False)])

    assert place.sent() == [as_sent(0, queue="slow")]


def test_shadow_is_routed_and_shown_in_place_of_the_name(app: Celery, client: redis.Redis) -> None:
    app.conf.task_routes = {"shop.pay": {"queue": "slow"}}
    message = replace(item(0), shadow="shop.pay")

    on_celery(app, client).dispatcher.send([Batch(BATCH, (message,), in_chord=False)])

    [sent] = map(json.loads, client.lrange("slow", 0, -1))
    assert [sent["headers"]["task"], sent["headers"]["shadow"]] == ["steps.measure", "shop.pay"]


def test_routes_that_are_a_function_choose_for_each_message(
    app: Celery, client: redis.Redis
) -> None:
    chosen: list[str] = []

    def router(name: str, *_: Any, **__: Any) -> dict[str, str]:
        chosen.append(name)
        return {"queue": f"shard{len(chosen) % 2}"}

    app.conf.task_routes = (router,)
    on_celery(app, client).dispatcher.send([batch(4, in_chord=True)])

    assert chosen == ["steps.measure"] * 4
    assert [client.llen("shard0"), client.llen("shard1")] == [2, 2]


def test_routes_that_are_a_table_are_read_once_for_a_batch(
    app: Celery, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.task_routes = {"steps.measure": {"queue": "slow"}}
    router, asked = app.amqp.router, list[str]()
    route = router.route

    def look(options: dict[str, Any], name: str) -> Any:
        asked.append(name)
        return route(options, name)

    monkeypatch.setattr(router, "route", look)
    on_celery(app, client).dispatcher.send([batch(40, in_chord=True)])

    assert len(asked) == 1
    assert client.llen("slow") == 40


def _work() -> None:
    """Do nothing; only the name counts."""


WAYS: dict[str, Callable[[Celery], object]] = {
    "by a pattern": lambda app: app.conf.update(task_routes={"steps.*": "slow"}),
    "by a function": lambda app: app.conf.update(
        task_routes=(lambda name, *_, **__: {"queue": "slow"} if "measure" in name else None,)
    ),
    "by the app's default": lambda app: app.conf.update(task_default_queue="slow"),
    "by a routing key": lambda app: app.conf.update(
        task_queues=[Queue("celery"), Queue("slow", Exchange("e"), routing_key="low.road")],
        task_routes={"steps.measure": {"exchange": "e", "routing_key": "low.road"}},
    ),
    "by an annotation, before the routes": lambda app: (
        app.conf.update(
            task_annotations={"steps.measure": {"queue": "slow"}},
            task_routes={"steps.measure": {"queue": "fast"}},
        ),
        app.task(name="steps.measure", shared=False)(_work),
    ),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_queue_is_chosen_as_celery_chooses_it(redis_url: str, way: str) -> None:
    with make_app("routed", redis_url) as app:
        WAYS[way](app)

        queue = CeleryDispatcher(app).queue_of(batch(1, in_chord=False).messages[0])

    assert queue == "slow"


@pytest.fixture
def lonely_url() -> Iterator[str]:
    """The address of a Redis that is away: nothing listens on its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


SENDS: dict[str, Callable[[Dispatcher], None]] = {
    "one step": lambda dispatcher: dispatcher.send([batch(1, in_chord=False)]),
    "a group": lambda dispatcher: dispatcher.send([batch(3, in_chord=False)]),
    "a chord": lambda dispatcher: dispatcher.send([batch(3, in_chord=True)]),
    "an advance": lambda dispatcher: dispatcher.send_advance([BATCH]),
    "a request to collect": lambda dispatcher: dispatcher.send_collect(),
    "a question": lambda dispatcher: print(dispatcher.depth(DEFAULT)),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_redis_away_is_said_soon(lonely_url: str, send: Callable[[Dispatcher], None]) -> None:
    """Who submits waits for it: the run is recorded, and the sweeper sends it later."""
    with make_app("flowq-test", lonely_url) as app:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="does not take messages") as caught:
            send(CeleryDispatcher(app))

    assert time.monotonic() - started < 60
    assert "check that the broker runs" in (caught.value.hint or "")


def test_redis_away_tells_no_password(lonely_url: str) -> None:
    url = lonely_url.replace("redis://", "redis://:secret@")
    with make_app("flowq-test", url) as app, pytest.raises(BrokerUnavailable) as caught:
        CeleryDispatcher(app).send([batch(1, in_chord=False)])

    assert "secret" not in str(caught.value)


def _raises_config() -> Celery:
    app = Celery("wrong")
    app.config_from_object("tests.no_such_module")
    return app


def _raises_route() -> Celery:
    def router(*_: object, **__: object) -> None:
        raise LookupError("no route to tenant")

    app = Celery("wrong", broker="memory://")
    app.conf.task_routes = (router,)
    return app


#: Apps through which no message can be sent, whatever server answers.
WRONG: dict[str, Callable[[], Celery]] = {
    "an unknown transport": lambda: Celery("wrong", broker="carrier-pigeon://coop"),
    "a scheme of redis-py's": lambda: Celery("wrong", broker="unix:///tmp/no.sock"),
    "an option of redis-py's": lambda: Celery("w", broker="redis://h/0?health_check_interval=3"),
    "a backend without its TLS": lambda: Celery("w", broker="memory://", backend="rediss://h/0"),
    "a port that is none": lambda: Celery("wrong", broker="redis://u:SECRET/x@host"),
    "a database that is none": lambda: Celery("wrong", broker="redis://127.0.0.1:1/shop"),
    "a missing library": lambda: Celery("wrong", broker="confluentkafka://127.0.0.1:1"),
    "a configuration that raises": _raises_config,
    "a route that raises": _raises_route,
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_whatever_is_wrong_with_an_app_is_one_kind_of_error(
    name: str, send: Callable[[Dispatcher], None], caplog: pytest.LogCaptureFixture
) -> None:
    """What is sent is recorded: the caller must not take any error for that of a refused run."""
    if (send is not SENDS["a chord"] and "backend" in name) or (
        send is SENDS["a question"] and "route" in name
    ):
        pytest.skip("it is not asked for this")
    with pytest.raises(BrokerUnavailable) as caught:
        send(CeleryDispatcher(WRONG[name]()))

    assert "SECRET" not in "".join(format_exception(caught.value))
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("name", ["an unknown transport", "a route that raises"])
def test_queue_of_a_message_that_no_route_gives(name: str) -> None:
    """The sweeper, which asks for it, goes on with the rest."""
    dispatcher = CeleryDispatcher(WRONG[name]())
    [message] = batch(1, in_chord=False).messages
    if name == "a route that raises":
        with pytest.raises(BrokerUnavailable, match="no route to tenant"):
            dispatcher.queue_of(message)
    else:
        assert "celery" == dispatcher.queue_of(message)


@pytest.mark.parametrize("name", sorted(WRONG.keys() - {"a route that raises"}))
def test_what_is_wrong_with_an_app_is_known_before_anything_is_recorded(name: str) -> None:
    """As far as no server has to be asked."""
    if name == "a database that is none":
        pytest.skip("kombu reads it when it connects")
    with pytest.raises(InvalidSetting) as caught:
        check_app(WRONG[name]())

    assert "SECRET" not in "".join(format_exception(caught.value))
    assert caught.value.hint


# --- asking workers ------------------------------------------------------------------------------

PATIENCE = timedelta(seconds=0.3)


def test_steps_that_run_in_this_process_need_no_worker() -> None:
    dispatcher: Dispatcher = InProcessDispatcher()

    assert dispatcher.workers(PATIENCE) is None


def test_where_no_worker_runs_none_answers(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine may take longer to connect.
    monkeypatch.setattr("flowq.adapters.dispatch.inspect_workers._CONNECTING", 60.0)
    assert CeleryDispatcher(app).workers(PATIENCE) == []


def test_broker_that_cannot_be_reached_is_said(lonely_url: str) -> None:
    with (
        make_app("flowq-test", lonely_url) as app,
        pytest.raises(BrokerUnavailable, match="cannot reach workers"),
    ):
        CeleryDispatcher(app).workers(PATIENCE)


def test_broker_that_never_answers_is_asked_no_longer_than_it_is_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://:secret@127.0.0.1:{silent.getsockname()[1]}/0"
        with make_app("flowq-test", url) as app:
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable, match="did not answer in time") as caught:
                CeleryDispatcher(app).workers(PATIENCE)
            assert time.monotonic() - began < 60
            assert "secret" not in str(caught.value)
