"""Signatures become plans; what a plan cannot express is refused by name, before anything runs."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature, _chain
from kombu import Exchange, Queue

from flowq.canvas.compiling import compile_canvas
from flowq.canvas.plan import ChainPlan, ChordPlan, GroupPlan, Plan, TaskPlan, written
from flowq.canvas.program import _PLANS
from flowq.core.errors import InvalidFlow, NotSerializable

app = Celery("unit", set_as_current=False)


@app.task
def add(*numbers: int) -> int:
    return sum(numbers)


@app.task(time_limit=30, soft_time_limit=20)
def limited() -> None:
    """Has limits."""


def plan(signature: Any) -> Plan:
    return compile_canvas(signature, app)


def task(signature: Any) -> TaskPlan:
    found = plan(signature)
    assert isinstance(found, TaskPlan)
    return found


def refused(signature: Any) -> str:
    with pytest.raises((InvalidFlow, NotSerializable)) as error:
        plan(signature)
    assert error.value.hint
    return error.value.message


def options(**given: Any) -> Signature[Any]:
    return add.s().set(**given)


def some_forms() -> list[Any]:
    return [
        add.s(1, 2).set(countdown=3, expires=9, queue="fast"),
        chain(add.s(1), group(add.s(2), add.si(3)), add.s(4)).on_error(add.s()),
        chord([add.s(1), chain(add.s(1), add.s(2))], group(add.s(), add.s())),
        add.map([1, 2]),
        add.chunks([(1,), (2,), (3,)], 2),
        group(),
    ]


@pytest.mark.parametrize("number", range(6))
def test_plan_survives_json_and_so_does_the_signature(number: int) -> None:
    found = plan(some_forms()[number])

    assert _PLANS.validate_python(written(found)) == found
    assert plan(dict(some_forms()[number])) == found


def test_group_before_a_task_is_a_header() -> None:
    found = plan(chain(add.s(0), group(add.s(1), add.s(2)), add.s(3), add.s(4)))

    assert isinstance(found, ChainPlan)
    assert [type(step) for step in found.steps] == [TaskPlan, ChordPlan, TaskPlan]


def test_long_chain_of_chords_is_not_nested() -> None:
    """Celery nests each chord in the body of the one before."""
    steps = [each for n in range(12) for each in (group(add.s(n), add.s(n)), add.s())]
    found = plan(chain(*steps))

    assert isinstance(found, ChainPlan)
    assert [type(step) for step in found.steps] == [ChordPlan] * 12


def test_options_go_where_celery_has_them() -> None:
    chained = plan(_chain(add.s(1), add.s(2)).set(queue="slow", countdown=5))
    assert isinstance(chained, ChainPlan)
    assert [(step.queue, step.countdown) for step in chained.steps] == [("slow", 5), (None, None)]  # type: ignore[union-attr]

    grouped = plan(group(add.s(1), group(add.s(2)).set(queue="never")).set(queue="slow"))
    assert isinstance(grouped, GroupPlan)
    assert [step.queue for step in grouped.tasks] == ["slow", "slow"]  # type: ignore[union-attr]

    joined = plan(chord([add.s(1)], add.s(2)).set(queue="slow", countdown=5))
    assert isinstance(joined, ChordPlan)
    everything = [*joined.header, joined.body]
    assert [(one.queue, one.countdown) for one in everything] == [("slow", 5), ("slow", None)]  # type: ignore[union-attr]


def test_options_of_the_task_itself_count_unless_the_signature_has_its_own() -> None:
    assert task(limited.s()).timeout == 20
    assert task(limited.s().set(soft_time_limit=5)).timeout == 5  # type: ignore[call-arg]


def test_times_are_seconds_or_aware_moments() -> None:
    begins = datetime(2030, 1, 1)  # noqa: DTZ001 - as users give it: in the zone of the app
    found = task(options(eta=begins, expires=timedelta(minutes=1)))
    assert [found.eta, found.expires_in] == [begins.replace(tzinfo=UTC), 60]
    assert task(add.s().set(eta=begins, countdown=2)).eta is None
    assert task(add.s().set(expires=begins)).expires_at == begins.replace(tzinfo=UTC)
    assert task(options(expires="2030-01-01T00:00:00")).expires_at is not None


def test_queue_is_found_by_its_routing_key() -> None:
    routed = Celery("routed", set_as_current=False)
    routed.conf.task_queues = [Queue("low", Exchange("e"), routing_key="low.road")]
    routed.task(name="add")(add.run)
    signature = Signature("add", app=routed, options={"exchange": "e", "routing_key": "low.road"})

    found = compile_canvas(signature, routed)
    assert isinstance(found, TaskPlan)
    assert found.queue == "low"
    with pytest.raises(InvalidFlow, match="no queue of the app is bound to that"):
        compile_canvas(signature.set(routing_key="high.road"), routed)


def test_map_is_routed_and_shown_as_its_task() -> None:
    found = task(add.starmap([(1, 2)]))
    assert [found.label, found.shadow] == [f"{add.name}.starmap", add.name]


@pytest.mark.parametrize(
    "signature, said",
    [
        (lambda: "add", "is no signature of Celery"),
        (lambda: {"args": []}, "is no signature of Celery"),
        (lambda: Signature("no.such.task", app=app), "has no task 'no.such.task'"),
        (lambda: Signature("celery.backend_cleanup", app=app), "cannot be a task of a durable"),
        (lambda: options(login_method="x"), "has the option 'login_method'"),
        (lambda: add.s().set(priority=3), "a priority of its own"),
        (lambda: add.s().set(serializer="pickle"), "has the serializer 'pickle'"),
        (lambda: add.s(object()), "an argument of .*add cannot be stored"),
        (lambda: add.s(float("nan")), "an argument of .*add cannot be stored"),
        (lambda: options(countdown="soon"), "countdown of .* is 'soon'"),
        (lambda: options(eta=5), "eta of .* is 5"),
        (lambda: chord([add.s()]), "a chord without a body"),
        (_chain, "the canvas is empty"),
        (lambda: _chain(add.s(), group(add.s(), add.s())).set(link=add.s()), "group with link"),
        (lambda: group(add.s()).set(link_error=add.s()), "group with link_error"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(signature: Any, said: str) -> None:
    assert re.search(said, refused(signature()))
