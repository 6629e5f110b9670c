"""The code of a task runs as in a worker of Celery: its request, retries, handlers and signals."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import chain, group, signals
from celery.canvas import Signature

from flowq import testing
from flowq.canvas import durable
from flowq.canvas.values import decoded
from flowq.core.errors import RunFailed
from flowq.core.ids import node_id
from flowq.core.states import StepState
from tests.integration.canvas import shop
from tests.integration.canvas.shop import SEEN, play


def failure(canvas: Signature[Any]) -> str:
    with pytest.raises(RunFailed) as failed:
        play(canvas)
    return str(failed.value)


# --- request and values --------------------------------------------------------------------------


def test_bound_task_has_the_request_of_its_attempt() -> None:
    canvas = shop.who.s(1, a=2)
    canvas.stamp(tenant="ada")
    canvas.set(headers={"origin": "web"})

    with testing.start(durable(canvas).flow) as started:
        request = started.result()

    assert request["id"] == str(node_id(started.id, f"{shop.who.name}#1"))
    assert request["root"] == str(started.id)
    expected = {"args": [1], "kwargs": {"a": 2}, "retries": 0, "direct": False, "eager": False}
    expected |= {"stamps": {"tenant": ["ada"]}, "headers": {"origin": "web"}}
    assert {name: request[name] for name in expected} == expected
    assert request["name"] == shop.who.name


def test_values_are_those_that_celery_would_pass_on() -> None:
    assert play(chain(shop.moment.s(), shop.years.s())) == [2030, "bytes"]

    value = decoded(play(shop.moment.s()))
    assert value["at"] == datetime(2030, 1, 1, tzinfo=UTC)
    assert [value["raw"], value["pair"], value["3"]] == [b"\x00\xff", [1, 2], "key"]


def test_result_without_a_json_form_is_refused_and_not_retried() -> None:
    said = failure(shop.thing.s())
    assert "NotSerializable: the result of" in said
    assert "cannot be stored" in said


def test_what_is_passed_on_is_large_and_stays_out_of_the_rows() -> None:
    text = "x" * 300_000
    result = play(chain(shop.join.s(text), group(shop.join.s(1), shop.join.s(2)), shop.join.s(3)))
    assert result == [[[[text], 1], [[text], 2]], 3]


# --- retries -------------------------------------------------------------------------------------


def test_retry_is_another_attempt_after_its_countdown() -> None:
    with testing.start(durable(shop.flaky.s(2, countdown=600)).flow) as started:
        [step] = [each for each in started.steps if each.key.startswith(shop.flaky.name)]
        assert step.status is StepState.RETRYING
        assert [step.error_type, step.error_message] == ["ConnectionError", "not yet"]
        began = started.now
        assert started.result() == [2, 3]
        assert started.now - began >= timedelta(minutes=20)
        assert [each.attempts for each in started.steps][1:] == [3]

    assert SEEN == [0, 1, 2]


def test_retries_end_where_the_task_says_with_its_error() -> None:
    assert "ConnectionError: not yet" in failure(shop.flaky.s(9, countdown=1))
    assert SEEN == [0, 1, 2, 3]


@pytest.mark.parametrize("until", [1, 2, 3])
def test_autoretry_works_as_declared(until: int) -> None:
    if until < 3:
        assert play(shop.auto.s(until)) == until + 1
    else:
        assert "ConnectionError" in failure(shop.auto.s(until))
    assert len(SEEN) == min(until + 1, 3)


def test_retry_with_other_arguments_runs_with_them() -> None:
    assert play(chain(shop.shrink.s([1, 2, 3]), shop.join.s())) == [[[3], 2]]


# --- replaced tasks ------------------------------------------------------------------------------


def test_replaced_task_goes_on_as_what_replaces_it() -> None:
    task = shop.instead.s()
    task.link(shop.see.s("linked"))
    result = play(chain(shop.total.s([1, 2]), task, shop.join.s("end")))

    assert result == [[[3, "first"], "then"], "end"]
    assert SEEN == [[result[0], "linked"]]


def test_task_that_is_replaced_by_a_group_returns_its_list() -> None:
    assert play(chain(shop.spread.s(3), shop.join.s())) == [[[0], [1], [2]]]


def test_task_that_gives_up_fails_its_run() -> None:
    assert re.search("raised Ignore: its canvas would never end", failure(shop.give_up.s()))


# --- handlers and signals ------------------------------------------------------------------------


def test_handlers_of_the_base_class_are_called() -> None:
    assert play(shop.handled.s(1)) >= 2  # the copy of a process keeps what the task keeps
    retried = ["before_start", ("on_retry", "broken")]
    done = ["before_start", ("on_success", SEEN[-2][1]), ("after_return", "SUCCESS")]
    assert [one for one in SEEN if one != ("after_return", "RETRY")] == retried + done
    SEEN.clear()

    failure(shop.handled_failure.s())
    assert ["before_start", ("on_failure", "'lost'"), ("after_return", "FAILURE")] == SEEN


def test_signals_of_celery_are_sent() -> None:
    heard: list[str] = []

    def hear(sender: Any, signal: Any, **_: Any) -> None:
        heard.append(f"{signal.name} {sender.name}")

    names = ("task_prerun", "task_success", "task_postrun", "task_failure")
    for name in names:
        getattr(signals, name).connect(hear, weak=False)
    try:
        play(shop.join.s(1))
        failure(shop.fail.s())
    finally:
        for name in names:
            getattr(signals, name).disconnect(hear)

    assert heard == [
        f"{signal} {task.name}"
        for task, ended in ((shop.join, "task_success"), (shop.fail, "task_failure"))
        for signal in ("task_prerun", ended, "task_postrun")
    ]


# --- time ----------------------------------------------------------------------------------------


def test_countdown_is_a_timer_of_the_run() -> None:
    with testing.start(durable(shop.join.s(1).set(countdown=7 * 86400)).flow) as started:
        assert [each.status for each in started.steps] == [StepState.WAITING] * 2
        began = started.now
        assert started.result() == [1]
        assert started.now - began >= timedelta(days=7)


def test_countdown_of_a_group_and_a_chain_is_where_celery_has_it() -> None:
    canvas = chain(shop.join.s(1), shop.join.s(2)).set(countdown=60)
    with testing.start(durable(group(canvas, shop.join.s(3)).set(countdown=30)).flow) as started:
        timers = [each.key for each in started.steps if "countdown" in each.key]
        began = started.now
        started.result()
        assert started.now - began == timedelta(seconds=30)
    assert len(timers) == 2


def test_eta_is_a_timer_of_the_run() -> None:
    begins = datetime(2030, 1, 1, 12, tzinfo=UTC)
    with testing.start(durable(shop.join.s(1).set(eta=begins)).flow) as started:
        assert started.result() == [1]
        assert started.now == begins


def test_expired_task_does_not_run() -> None:
    assert "TaskRevokedError" in failure(
        shop.see.s(1).set(expires=datetime(2020, 1, 1, tzinfo=UTC))
    )
    assert SEEN == []
    assert play(shop.join.s(1).set(expires=60)) == [1]
