"""Steps wait for limits without a worker and without messages, and go on in their order."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import event

from flowq import Concurrency, Rate, errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import LeaseToken, StepRunId, node_id
from flowq.core.limits.slots import Limit
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.interrupts import Interrupt
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from tests.tools import turns
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage
from tests.tools.waiting import wait_until

COMPLETED, QUEUED, RUNNING = StepState.COMPLETED, StepState.QUEUED, StepState.RUNNING


class Now:
    """What steps do, and what was seen of them."""

    act: Callable[[Any], Any] = staticmethod(lambda value: value)
    lock = threading.Lock()
    under_way = 0
    most = 0


@pytest.fixture(autouse=True)
def now() -> Iterator[None]:
    Now.act, Now.under_way, Now.most = staticmethod(lambda value: value), 0, 0
    yield
    Now.act = staticmethod(lambda value: value)


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return fresh(records)


def fresh(records: SqlRecords, **options: Any) -> Stage:
    with records.engine.begin() as connection:  # tests of a module share a database
        connection.exec_driver_sql("DELETE FROM flow_waits")
        connection.exec_driver_sql("DELETE FROM flow_slots")
    turns.keep(records.engine)
    return Stage.on(records, **options)


def slowly(value: Any) -> Any:
    time.sleep(0.01)
    return value


def seen(value: Any) -> Any:
    with Now.lock:
        Now.under_way += 1
        Now.most = max(Now.most, Now.under_way)
    try:
        return Now.act(value)
    finally:
        with Now.lock:
            Now.under_way -= 1


@step(concurrency=1)
def one_at_once(value: Any) -> Any:
    return seen(value)


@step(concurrency=Concurrency(3, key="three"))
def three_at_once(value: Any) -> Any:
    return seen(value)


@step(concurrency=Concurrency(1, key="customer {customer}"))
def for_customer(customer: str, other: int = 0) -> Any:
    return seen(customer)


@step(rate=Rate(3, per=0.4))
def three_a_while(value: Any) -> Any:
    return seen(value)


@step(rate=Rate(3, per=2.0))
def three_a_longer_while(value: Any) -> Any:
    return seen(value)


@step(rate=Rate(3, per=30.0))
def three_a_half_minute(value: Any) -> Any:
    return seen(value)


@step(concurrency=Concurrency(2, key="both"), rate=Rate(4, per=0.3, key="both"))
def both(value: Any) -> Any:
    return seen(value)


@flow
def single(value: Any) -> Any:
    return one_at_once(value)


@flow
def three(count: int) -> Any:
    return three_at_once.map(list(range(count)))


@flow
def customers(names: list[str]) -> Any:
    return for_customer.map(names)


@flow
def rated(count: int) -> Any:
    return three_a_while.map(list(range(count)))


@flow
def slowly_rated(count: int) -> Any:
    return three_a_longer_while.map(list(range(count)))


@flow
def very_slowly_rated(count: int) -> Any:
    return three_a_half_minute.map(list(range(count)))


@flow
def both_of(count: int) -> Any:
    return both.map(list(range(count)))


def hold(stage: Stage, flow_: Any = None, key: str = "one_at_once") -> tuple[Played, Any]:
    """Begin a step by hand that has the slot of its limit; returns its run and its claim."""
    played = stage.submit(flow_ or single, {"value": "held"})
    held: list[Any] = []

    class Stop(Interrupt):
        pass

    def act(_value: Any) -> None:
        held.append(True)
        raise Stop

    Now.act = staticmethod(act)
    # It dies with its slot.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowq.engine.attempts.limits._pass_slot", lambda *_args: None)
        with pytest.raises(Stop):
            stage.dispatcher.run(stage.engine, limit=1)
    Now.act = staticmethod(lambda value: value)
    assert held
    return played, node_id(played.id, key)


def rows(stage: Stage, sql: str) -> list[Any]:
    with stage.records.engine.connect() as connection:
        return list(connection.exec_driver_sql(sql))


def steps_sent(stage: Stage) -> list[Any]:
    return [one.message for one in stage.dispatcher.waiting if one.message is not None]


def lapse(stage: Stage) -> None:
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_step_runs SET lease_expires_at = '2020-01-01 00:00:00.000000' "
            "WHERE lease_token IS NOT NULL"
        )
        connection.exec_driver_sql("UPDATE flow_slots SET used_at = '2020-01-01 00:00:00.000000'")


# --- at once -------------------------------------------------------------------------------------


def test_step_over_the_limit_waits_without_a_message_and_then_runs(stage: Stage) -> None:
    _, holder = hold(stage)
    waits = stage.submit(single, {"value": 1})
    stage.dispatcher.run(stage.engine)

    shown = waits.step("one_at_once")
    assert (shown.status, shown.attempts) == (QUEUED, 0)
    assert stage.dispatcher.waiting == ()
    stage.sweep()
    assert not steps_sent(stage), "nothing goes round"
    assert_invariants(stage.records, grace=timedelta(hours=1))
    lapse(stage)
    stage.sweep()  # queues the step whose worker is gone, frees its slot and promises it
    stage.dispatcher.run(stage.engine)
    assert waits.result() == 1
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert stage.records.autocommit(lambda tx: tx.steps.by_id(holder)).status == "completed"  # type: ignore[union-attr]
    assert_invariants(stage.records, grace=timedelta(0))


def pass_a_millisecond() -> None:
    """Wait until what comes now is later by the database, which counts milliseconds."""
    came = time.time_ns() // 1_000_000
    wait_until(lambda: time.time_ns() // 1_000_000 > came, what="the next millisecond")


def test_release_sends_the_next_in_their_order(stage: Stage) -> None:
    order: list[Any] = []
    first = stage.submit(single, {"value": 0})
    others: list[Played] = []

    def begin_others(value: Any) -> Any:
        order.append(value)
        if not others:
            others.extend(stage.submit(single, {"value": n}) for n in (1, 2, 3))
            for _ in others:
                stage.dispatcher.run(stage.engine, limit=1)
                pass_a_millisecond()
            assert stage.dispatcher.waiting == ()
        return value

    Now.act = begin_others
    stage.dispatcher.run(stage.engine)

    assert order == [0, 1, 2, 3]
    assert [first.result(), *(one.result() for one in others)] == order
    assert rows(stage, "SELECT 1 FROM flow_waits") == []
    assert rows(stage, "SELECT 1 FROM flow_slots WHERE token IS NOT NULL") == []


@pytest.mark.parametrize("threads", [8])
def test_never_more_than_the_limit_run_at_once(records: SqlRecords, threads: int) -> None:
    stage = fresh(records, policies=Policies(chord_from=4))
    Now.act = staticmethod(slowly)
    played = stage.submit(three, {"count": 40})

    stage.run_in_threads(played, threads)

    assert played.result() == list(range(40))
    assert Now.most <= 3
    assert rows(stage, "SELECT 1 FROM flow_slots WHERE token IS NOT NULL") == []
    tried = "SELECT attempt FROM flow_step_runs WHERE step_key = 'three_at_once' AND map_index >= 0"
    assert {1} == {row[0] for row in rows(stage, tried)}, "a denied attempt does not count"


def test_key_is_made_of_arguments(stage: Stage) -> None:
    played = stage.submit(customers, {"names": ["ann", "bob", "ann"]})
    seen_keys: list[str] = []

    def look(customer: str) -> str:
        seen_keys.append(customer)
        if len(seen_keys) == 1:
            stage.dispatcher.run(stage.engine)  # while ann's first is running
        return customer

    Now.act = look
    stage.dispatcher.run(stage.engine)

    assert seen_keys == ["ann", "bob", "ann"]
    assert played.result() == ["ann", "bob", "ann"]
    keys = {row[0] for row in rows(stage, "SELECT key FROM flow_slots")}
    assert keys == {"at-once:customer ann", "at-once:customer bob"}


def test_failing_step_gives_its_slot_back(stage: Stage) -> None:
    def fail(_value: Any) -> None:
        raise ValueError("no")

    Now.act = fail
    assert stage.play(single, value=1).status is RunState.FAILED

    Now.act = staticmethod(lambda value: value)
    assert stage.play(single, value=2).result() == 2


def test_step_that_waits_can_be_cancelled_and_its_line_advances(stage: Stage) -> None:
    hold(stage)
    gone, after = stage.submit(single, {"value": 1}), stage.submit(single, {"value": 2})
    stage.dispatcher.run(stage.engine)

    assert cancel(stage.engine, gone.id) is RunState.CANCELLED

    lapse(stage)
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert after.result() == 2
    assert rows(stage, "SELECT 1 FROM flow_waits") == []


def test_step_of_a_paused_run_lets_others_go_first(stage: Stage) -> None:
    hold(stage)
    held, after = stage.submit(single, {"value": 1}), stage.submit(single, {"value": 2})
    stage.dispatcher.run(stage.engine)
    pause(stage.engine, held.id)
    lapse(stage)
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert after.result() == 2
    assert held.status is RunState.PAUSED

    resume(stage.engine, held.id)
    stage.dispatcher.run(stage.engine)

    assert held.result() == 1


def test_promise_that_is_not_taken_lapses(records: SqlRecords) -> None:
    """The message of the one that was promised the slot is lost."""
    stage = fresh(records, policies=Policies(resend_after=timedelta(0)))
    hold(stage)
    waits = stage.submit(single, {"value": 1})
    stage.dispatcher.run(stage.engine)
    lapse(stage)
    stage.sweep()
    stage.dispatcher.clear()

    newcomer = stage.play(single, value=2)
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert (newcomer.result(), waits.result()) == (2, 1)


def test_limit_that_was_raised_or_lowered_holds_from_then_on(stage: Stage) -> None:
    def take(slots: int) -> bool:
        limit = Limit("at-once:changing", slots, None)
        ids = StepRunId(uuids.uuid7()), LeaseToken(uuids.uuid7())
        return stage.records.autocommit(lambda tx: tx.limits.take(limit, *ids))

    assert [take(2), take(2), take(2)] == [True, True, False]
    assert [take(3), take(3)] == [True, False]
    assert take(1) is False


# --- rates ---------------------------------------------------------------------------------------


#: SQLite's clock has milliseconds.
TICK = 0.002


def test_no_window_sees_more_starts_than_the_rate(stage: Stage) -> None:
    played = stage.submit(rated, {"count": 10})

    stage.run_in_threads(played, 4)

    assert played.result() == list(range(10))
    at = turns.taken(stage.records.engine)
    assert len(at) == 10
    assert turns.shortest(stage.records.engine, 3) >= 0.4 - TICK
    assert at[-1] - at[0] < 150


def test_step_over_the_rate_counts_no_attempt(stage: Stage) -> None:
    played = stage.play(rated, count=5)

    assert played.result() == list(range(5))
    assert played.step("three_a_while").attempts == 1
    assert rows(stage, "SELECT 1 FROM flow_waits") == []


def test_rate_and_limit_together(stage: Stage) -> None:
    Now.act = staticmethod(slowly)
    played = stage.submit(both_of, {"count": 12})

    stage.run_in_threads(played, 6)

    assert played.result() == list(range(12))
    assert Now.most <= 2
    assert turns.shortest(stage.records.engine, 4) >= 0.3 - TICK


def test_turns_beyond_the_horizon_are_given_by_the_sweeper(
    records: SqlRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowq.engine.attempts.limits._HORIZON", timedelta(seconds=0.1))

    def begun(flow_: Any) -> tuple[Stage, Played]:
        stage = fresh(records)
        played = stage.submit(flow_, {"count": 7})
        stage.dispatcher.run(stage.engine)
        return stage, played

    began = time.monotonic()
    per, (stage, played) = 2.0, begun(slowly_rated)
    if time.monotonic() - began > 1.5:  # a machine that slow has come to the next turns
        cancel(stage.engine, played.id)
        per, (stage, played) = 30.0, begun(very_slowly_rated)
    (step_view,) = (one for one in played.view.steps if one.key.startswith("three"))
    assert step_view.counts == {COMPLETED: 3, QUEUED: 4}
    assert stage.dispatcher.waiting == ()

    def ended() -> bool:
        stage.sweep()
        stage.dispatcher.run(stage.engine)
        return played.status is not RunState.RUNNING

    wait_until(ended, timeout=300, what="every turn has come")
    assert played.result() == list(range(7))
    assert turns.shortest(stage.records.engine, 3) >= per - TICK


# --- the hot path --------------------------------------------------------------------------------


@step
def plain(value: Any) -> Any:
    return value


@flow
def plain_child(value: Any) -> Any:
    return plain(plain(value))


@flow
def plain_parent() -> Any:
    return [plain_child(1), plain.map([1, 2, 3])]


def test_steps_without_options_ask_no_table_of_limits(stage: Stage) -> None:
    if stage.records.url.get_backend_name() != "sqlite":
        pytest.skip("prepared statements do not pass SQLAlchemy's events")
    asked: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(stage.records.engine, "before_cursor_execute", note)
    try:
        assert stage.play(plain_parent).result() == [1, [1, 2, 3]]
    finally:
        event.remove(stage.records.engine, "before_cursor_execute", note)

    tables = (
        *("flow_slots", "flow_waits", "flow_meters", "flow_token_uses"),
        *("flow_cached_results", "llm_requests"),
    )
    assert asked
    assert [] == [one for one in asked if any(table in one for table in tables)]


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"concurrency": 0},
        {"concurrency": -1},
        {"concurrency": True},
        {"concurrency": "5"},
        {"concurrency": 10**9},
        {"concurrency": Concurrency(1, key="")},
        {"concurrency": Concurrency(1, key="{nobody}")},
        {"concurrency": Concurrency(1, key="{")},
        {"concurrency": Concurrency(1, key="{}")},
        {"rate": 60},
        {"rate": "60"},
        {"rate": "0/minute"},
        {"rate": "many/minute"},
        {"rate": "60/fortnight"},
        {"rate": Rate(1, per=0)},
        {"rate": [Rate(1), "no"]},
        {"rate": "0 tokens/minute"},
        {"rate": "90000 words/minute"},
        {"rate": Rate(2**31, of="tokens")},
        {"rate": Rate(100_001, of="starts")},
        {"rate": Rate(1, of="words")},  # type: ignore[arg-type]
        {"rate": Rate(1, of="tokens", key="{model}")},
    ],
    ids=str,
)
def test_limit_that_makes_no_sense_is_refused_where_it_is_written(given: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidFlow, match=r"(concurrency|rate).*test_limits\.py"):

        @step(**given)
        def never(value: int) -> None: ...
