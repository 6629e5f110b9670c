"""Delayed, debounced and singleton runs: when each begins, and what becomes of the others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from flowq import continue_as_new, flow, step, testing
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import Base
from flowq.adapters.records.sql.types import DbNow
from flowq.authoring.definitions.flows import Flow
from flowq.core.errors import InvalidInput
from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.advance.child_runs import stop
from flowq.engine.model.stops import StopReason
from flowq.engine.runs import submission
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause
from flowq.engine.sweeper.invariants import check
from flowq.engine.waits.explain import summaries_of, why_waits
from tests.tools.playing import Played, Stage

RUNS: Final = Base.metadata.tables["flow_runs"]
HOUR: Final = timedelta(hours=1)


@step
def double(number: int) -> int:
    return 2 * number


@flow
def plain(number: int) -> int:
    return double(number)


@flow(singleton=True, singleton_by="key")
def queued(number: int, key: str = "") -> int:
    return double(double(number))


@flow(singleton="skip", singleton_by=lambda inputs: inputs.key)
def skipped(number: int, key: str = "") -> int:
    return double(number)


@flow(singleton="cancel_running")
def newest(number: int) -> int:
    return double(number)


@flow(debounce=HOUR, debounce_by="key")
def debounced(number: int, key: str = "") -> int:
    return double(number)


@flow(singleton="queue")
async def counting(number: int) -> int:
    if number > 0:
        continue_as_new(number=number - 1)
    return number


@flow
def calls_queued(number: int) -> list[int]:
    return queued.map([number, number + 1])


@flow(singleton="queue")
def inner_of_itself(depth: int) -> Any:
    return inner_of_itself(depth - 1) if depth else double(depth)


def submit(stage: Stage, flow: Flow[..., Any], *, number: int = 1, **options: Any) -> RunId:
    inputs = {"number": number, **({"key": options.pop("key")} if "key" in options else {})}
    return submission.submit(stage.engine, flow.type, inputs, **options)


def states(stage: Stage, runs: list[RunId]) -> list[RunState]:
    found = stage.records.autocommit(lambda tx: tx.runs.states(runs))
    return [found[run] for run in runs]


def is_due(stage: Stage, *runs: RunId) -> None:
    """Let the time at which runs begin come."""
    late = update(RUNS).where(RUNS.c.id.in_(runs)).values(starts_at=DbNow(-1.0))
    with stage.records.engine.begin() as connection:
        connection.execute(late)


# --- delayed -------------------------------------------------------------------------------------


def test_delayed_run_begins_at_its_time() -> None:
    began: list[datetime] = []

    @step(name="tests.starting.note")
    def note() -> None:
        began.append(started.now)

    @flow(name="tests.starting.noting")
    def noting() -> Any:
        return note()

    for options in ({"delay": HOUR}, {"at": datetime(2030, 1, 1, 1, tzinfo=UTC)}):
        with testing.start(noting.options(**options)) as started:
            assert started.status is RunState.PENDING
            assert started.view().starts_at == datetime(2030, 1, 1, 1, tzinfo=UTC)
            started.finish()
            view = started.view()
            assert (view.status, view.starts_at) == (RunState.COMPLETED, None)
            assert view.started_at == datetime(2030, 1, 1, 1, tzinfo=UTC)
    assert began == [datetime(2030, 1, 1, 1, tzinfo=UTC)] * 2


def test_soon_is_asked_for_by_a_message_and_late_seen_by_the_sweeper(stage: Stage) -> None:
    soon = submit(stage, plain, delay=timedelta(seconds=50))
    late = submit(stage, plain, delay=timedelta(hours=50))
    assert len(stage.dispatcher.waiting) == 1
    assert why_waits(stage.engine, late)[0].text.startswith("begins at ")
    short = summaries_of(stage.engine, [soon, late])
    assert all(text.startswith("begins at ") for text in short.values())
    stage.dispatcher.clear()  # lost, as by a crash of the broker
    assert stage.sweep() == 0
    is_due(stage, soon, late)
    stage.sweep()
    stage.dispatcher.run_due(stage.engine)
    assert states(stage, [soon, late]) == [RunState.COMPLETED] * 2


def test_past_time_is_now(stage: Stage) -> None:
    run = submit(stage, plain, at=datetime(2020, 1, 1, tzinfo=UTC))
    stage.dispatcher.run_due(stage.engine)
    assert states(stage, [run]) == [RunState.COMPLETED]


def test_run_that_is_cancelled_before_it_begins_ends_though_its_canceller_has_died(
    stage: Stage,
) -> None:
    run = submit(stage, plain, delay=HOUR)
    why = StopReason(StopKind.USER, "why")
    assert stage.records.transaction(lambda tx: stop(tx, run, why))
    assert states(stage, [run]) == [RunState.CANCELLING]
    stage.sweep()
    stage.dispatcher.run_due(stage.engine)
    assert states(stage, [run]) == [RunState.CANCELLED]


def test_pending_run_can_be_cancelled_and_not_paused(stage: Stage) -> None:
    run = submit(stage, plain, delay=HOUR)
    assert pause(stage.engine, run) is RunState.PENDING
    assert cancel(stage.engine, run) is RunState.CANCELLED
    is_due(stage, run)
    stage.sweep()
    assert states(stage, [run]) == [RunState.CANCELLED]


@pytest.mark.parametrize(
    "options",
    [
        {"delay": HOUR, "at": datetime(2040, 1, 1, tzinfo=UTC)},
        {"delay": timedelta(0)},
        {"delay": 60},
        {"at": HOUR},
        {"at": datetime(2040, 1, 1)},  # noqa: DTZ001 - that is the mistake
    ],
)
def test_wrong_time_is_refused(stage: Stage, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        submit(stage, plain, **options)
    with pytest.raises(InvalidInput, match="debounce"):
        submit(stage, debounced, delay=HOUR)
    assert not stage.records.autocommit(lambda tx: tx.overview.has_runs())


# --- singletons ----------------------------------------------------------------------------------


def test_one_run_of_a_key_at_a_time_the_oldest_first(stage: Stage) -> None:
    runs = [submit(stage, queued, number=number, key="a") for number in range(3)]
    urgent = submit(stage, queued, key="a", priority=9)
    other = submit(stage, queued, key="b")
    assert states(stage, [*runs, urgent, other]) == [
        RunState.RUNNING,
        RunState.PENDING,
        RunState.PENDING,
        RunState.PENDING,
        RunState.RUNNING,
    ]
    (waits,) = why_waits(stage.engine, runs[1])
    assert f"one run of {queued.type.name!r} of its key at a time" in waits.text  # not the key
    assert f"waits for run {runs[0]}" in waits.text
    stage.dispatcher.run_due(stage.engine)
    views = [Played(stage, run, queued).view for run in runs]
    assert states(stage, [*runs, urgent, other]) == [RunState.COMPLETED] * 5
    assert all(
        one.completed_at and two.started_at and one.completed_at <= two.started_at
        for one, two in pairwise(views)
    )


@pytest.mark.parametrize("ended", ["cancelled", "crashed"])
def test_no_end_of_a_run_keeps_its_key(stage: Stage, ended: str) -> None:
    first, second = (submit(stage, queued, key="a") for _ in range(2))
    if ended == "cancelled":
        cancel(stage.engine, first)
    else:
        stage.dispatcher.clear()
        with stage.records.engine.begin() as connection:
            # Closed by a process that was killed before it started the next one.
            connection.execute(
                update(RUNS)
                .where(RUNS.c.id == first)
                .values(status="failed", error_message="x", stop_kind="deadline")
                .values(completed_at=DbNow(), execution_time_ms=1)
            )
            steps = Base.metadata.tables["flow_step_runs"]
            connection.execute(
                update(steps)
                .where(steps.c.flow_run_id == first)
                .values(
                    status=StepState.CANCELLED, completed_at=DbNow(), advanced=True, wake_at=None
                )
            )
        stage.sweep()
    stage.dispatcher.run_due(stage.engine)
    assert states(stage, [second]) == [RunState.COMPLETED]


def test_skip_returns_the_run_in_flight(stage: Stage) -> None:
    runs = submission.submit_many(
        stage.engine, skipped.type, [{"number": 1, "key": key} for key in "aab"]
    )
    assert runs[0] == runs[1] != runs[2]
    assert submit(stage, skipped, number=5, key="a") == runs[0]
    stage.dispatcher.run_due(stage.engine)
    assert submit(stage, skipped, key="a") not in runs


def test_newer_run_cancels_the_older_and_begins_when_that_has_ended(stage: Stage) -> None:
    runs = [submit(stage, newest, number=number) for number in range(3)]
    assert states(stage, runs) == [RunState.CANCELLED, RunState.CANCELLED, RunState.RUNNING]
    old = Played(stage, runs[0], newest).view
    assert (old.stop_kind, str(runs[1]) in (old.error or "")) == ("superseded", True)
    stage.dispatcher.run_due(stage.engine)
    assert states(stage, runs[2:]) == [RunState.COMPLETED]


def test_same_idempotency_key_replaces_nothing(stage: Stage) -> None:
    first = submit(stage, newest, idempotency_key="once")
    assert submit(stage, newest, idempotency_key="once") == first
    assert states(stage, [first]) == [RunState.RUNNING]


def test_concurrent_enqueues_with_one_idempotency_key_cancel_nothing(
    records: SqlRecords, four: ThreadPoolExecutor
) -> None:
    stage = Stage.on(records)
    for round_ in range(5):
        options: dict[str, Any] = {"idempotency_key": f"together {round_}"}
        futures = [
            four.submit(copy_context().run, partial(submit, stage, newest, **options))
            for _ in range(4)
        ]
        (run_id,) = {future.result() for future in futures}
        assert states(stage, [run_id]) != [RunState.CANCELLED]
        cancel(stage.engine, run_id)


def test_key_of_a_tick_is_refused(stage: Stage) -> None:
    with pytest.raises(InvalidInput, match="belongs to schedules"):
        submit(stage, plain, idempotency_key="schedule:nightly:2030-01-01T02:00:00Z")


def test_continued_run_keeps_its_key(stage: Stage) -> None:
    first = submit(stage, counting, number=2)
    second = submit(stage, counting, number=0)
    stage.dispatcher.run_due(stage.engine)
    rows = select(RUNS.c.id, RUNS.c.started_at, RUNS.c.completed_at).order_by(RUNS.c.started_at)
    with stage.records.engine.connect() as connection:
        found = list(connection.execute(rows))
    assert len(found) == 4
    # Two may have begun in one millisecond.
    found.sort(key=lambda row: (row[1], row[0] == second, row[0] != first))
    assert (found[0][0], found[-1][0]) == (first, second)
    assert all(row[2] <= found[-1][1] for row in found[:-1])


def test_child_runs_take_turns_and_none_waits_for_itself(stage: Stage) -> None:
    assert stage.play(calls_queued, number=1).result() == [4, 8]
    nested = stage.play(inner_of_itself, depth=1)
    assert nested.status is RunState.FAILED
    assert "waits for this child run" in nested.error


# --- debounce ------------------------------------------------------------------------------------


def test_last_of_a_span_begins_when_it_is_over(stage: Stage) -> None:
    runs = [submit(stage, debounced, number=number, key="a") for number in range(3)]
    other = submit(stage, debounced, key="b")
    assert states(stage, runs) == [RunState.CANCELLED, RunState.CANCELLED, RunState.PENDING]
    is_due(stage, runs[2], other)
    stage.sweep()
    stage.dispatcher.run_due(stage.engine)
    assert states(stage, [runs[2], other]) == [RunState.COMPLETED] * 2
    again = submit(stage, debounced, key="a")
    assert states(stage, [runs[2], again]) == [RunState.COMPLETED, RunState.PENDING]


def test_message_of_a_replaced_run_starts_the_one_that_has_replaced_it(stage: Stage) -> None:
    @flow(name="tests.starting.short", debounce=30)
    def short(number: int) -> int:
        return double(number)

    runs = [submit(stage, short, number=number) for number in range(2)]
    is_due(stage, runs[1])
    first, second = stage.dispatcher.waiting
    assert first != second
    stage.dispatcher.clear()
    stage.dispatcher.deliver(stage.engine, first)
    stage.dispatcher.run_due(stage.engine)
    assert states(stage, runs) == [RunState.CANCELLED, RunState.COMPLETED]


# --- all at once ---------------------------------------------------------------------------------

FLOWS: Final = [queued, skipped, newest, debounced]
ACTIONS: Final = st.lists(
    st.tuples(st.sampled_from(FLOWS), st.sampled_from("ab")), min_size=4, max_size=12
)


@pytest.fixture
def four(records: SqlRecords) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS)
def test_concurrent_enqueues_keep_one_run_of_a_key(
    records: SqlRecords, four: ThreadPoolExecutor, actions: list[tuple[Flow[..., Any], str]]
) -> None:
    """Four threads enqueue while two work; the unique indexes would refuse a second run."""
    stage = Stage.on(records)

    def enqueue(action: tuple[Flow[..., Any], str]) -> RunId:
        chosen, key = action
        with_key = {} if chosen is newest else {"key": key}
        return submission.submit(stage.engine, chosen.type, {"number": 1, **with_key})

    futures = [four.submit(copy_context().run, enqueue, action) for action in actions]
    runs = [future.result() for future in futures]
    pending = [run for run in set(runs) if states(stage, [run]) == [RunState.PENDING]]
    is_due(stage, *pending)
    for _ in range(3):
        stage.sweep()
        stage.dispatcher.run_due(stage.engine)
    by_flow: dict[str, list[RunState]] = {}
    for (chosen, key), run in zip(actions, runs, strict=True):
        (state,) = states(stage, [run])
        name = "newest" if chosen is newest else f"{chosen.type.name} {key}"
        by_flow.setdefault(name, []).append(state)
    for name, ended in by_flow.items():
        assert set(ended) <= {RunState.COMPLETED, RunState.CANCELLED}, name
        if "queued" in name or "skipped" in name:
            assert set(ended) == {RunState.COMPLETED}, name
        else:
            assert ended.count(RunState.COMPLETED) == 1, name
    assert check(records, grace=timedelta(hours=1)) == []
