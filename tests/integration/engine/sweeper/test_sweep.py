"""What the sweeper and the collector do for whole runs, on the real engine and both databases."""

# ruff: noqa: FBT001 - parameters of tests are given by name

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import delete, func, select, update

from flowq import flow, step
from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowDuty, FlowRun, FlowStepRun
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.results import memory
from flowq.adapters.results.memory import MemoryObjects
from flowq.core.errors import BrokerUnavailable, ResultMissing
from flowq.core.ids import BatchId, LeaseToken, StepRunId, item_id, node_id
from flowq.core.results import NO_RESULT, object_key
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import RunState, StepState
from flowq.engine.advance.finish import output
from flowq.engine.engine import Policies
from flowq.engine.model.rows import Outcome
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.results.store import ResultStore
from flowq.engine.runs import submission
from flowq.engine.sweeper import retention
from flowq.engine.sweeper.retention import collect
from tests.tools.faults.points import FaultPoint, injected
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage

QUEUED, CANCELLED = StepState.QUEUED, StepState.CANCELLED


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    """A database of the test's own: the sweeper goes over all runs that are there."""
    records = SqlRecords(database_url)
    yield records
    records.close()


@pytest.fixture(autouse=True)
def _invariants_hold(records: SqlRecords) -> Iterator[None]:
    """After each test, everything in that database fits together."""
    yield
    assert_invariants(records, grace=timedelta(hours=1))


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


def stage_with(records: SqlRecords, objects: MemoryObjects, **policies: Any) -> Stage:
    """Make a stage whose results are all large."""
    stage = Stage.on(records, policies=Policies(**policies))
    results = ResultStore(None, lambda: objects, 0)
    return Stage(replace(stage.engine, results=results), stage.dispatcher, records)


def change(records: SqlRecords, statement: Any) -> None:
    with records.engine.connect() as connection:
        connection.execute(statement)


def make_late(records: SqlRecords) -> None:
    """Let everything that was sent have been sent a while ago; what was later is later still."""
    times = select(FlowStepRun.wake_at).where(FlowStepRun.wake_at.is_not(None)).distinct()
    with records.engine.connect() as connection:
        latest_first = connection.scalars(times.order_by(FlowStepRun.wake_at.desc())).all()
    for seconds, time in enumerate(latest_first, 5):
        late = update(FlowStepRun).where(FlowStepRun.wake_at == time)
        change(records, late.values(wake_at=DbNow(-seconds)))


@step
def double(number: int) -> int:
    return 2 * number


@step
def total(numbers: list[Any]) -> int:
    return sum(number for number in numbers if isinstance(number, int))


@flow
def doubled(count: int) -> int:
    return total(double.map(list(range(count))))


@flow
def urgent_and_slow(count: int) -> Any:
    many = double.options(queue="slow").map(list(range(count)))
    return [double.options(key="urgent")(1), many]


# --- sent again ----------------------------------------------------------------------------------


def test_lost_messages_are_sent_again_when_they_are_late_and_not_before(
    records: SqlRecords,
) -> None:
    stage = Stage.on(records)
    played = stage.submit(doubled, {"count": 5})
    stage.dispatcher.clear()

    stage.sweep()
    assert [one.message for one in stage.dispatcher.waiting if one.message] == []
    make_late(records)
    stage.sweep()

    stage.dispatcher.run(stage.engine)
    assert played.result() == 20
    assert played.step("double").attempts == 1


def test_long_queue_is_not_made_longer(records: SqlRecords) -> None:
    stage = Stage.on(records)
    stage.submit(urgent_and_slow, {"count": 3_000})
    expanding = [one for one in stage.dispatcher.waiting if one.message is None]
    for one in expanding:  # a worker expands so many items
        stage.dispatcher._ready.remove(one)
        stage.dispatcher.deliver(stage.engine, one)
    sent = stage.dispatcher.waiting
    urgent = [one for one in sent if one.message and one.message.label == "urgent"]
    assert len(sent) == 3_001
    stage.dispatcher._ready.remove(urgent[0])  # it was lost

    for _ in range(5):
        make_late(records)
        stage.sweep()

    labels = [one.message.label for one in stage.dispatcher.waiting if one.message]
    assert 3_000 < len(labels) <= 3_000 + 5 * 10 + 5
    assert "urgent" in labels, "its own queue is empty"


def test_queue_that_was_emptied_is_filled_again_and_no_more_than_that(
    records: SqlRecords,
) -> None:
    stage = Stage.on(records)
    played = stage.submit(doubled, {"count": 1_200})
    stage.dispatcher.clear()
    longest, passes = 0, 0
    while played.status is RunState.RUNNING:
        make_late(records)
        stage.sweep()
        longest, passes = max(longest, len(stage.dispatcher.waiting)), passes + 1
        stage.dispatcher.run(stage.engine, limit=700)
        assert passes < 20

    assert played.result() == 1_200 * 1_199
    assert 1_000 <= longest <= 1_020


class AwayDispatcher(InProcessDispatcher):
    """A broker that can be away."""

    away = False

    def depth(self, queue: str) -> int:
        if self.away:
            raise BrokerUnavailable("the broker is away")
        return super().depth(queue)

    def send_advance(
        self, batches: Sequence[BatchId], delay: timedelta | None = None, priority: int = 0
    ) -> None:
        if self.away:
            raise BrokerUnavailable("the broker is away")
        super().send_advance(batches, delay, priority)


def test_no_resend_is_delayed_while_the_broker_is_away(records: SqlRecords) -> None:
    dispatcher = AwayDispatcher()
    stage = Stage.on(records)
    stage = Stage(replace(stage.engine, dispatcher=dispatcher), dispatcher, records)
    played = stage.submit(doubled, {"count": 3})
    dispatcher.clear()
    make_late(records)
    dispatcher.away = True
    for _ in range(10):
        stage.sweep()
    dispatcher.away = False

    stage.sweep()

    dispatcher.run(stage.engine)
    assert played.result() == 6


# --- lost workers --------------------------------------------------------------------------------


@flow
def plain(count: int) -> int:
    return double.options(key="then")(double.options(key="lost")(count))


@flow
def allowed(count: int) -> Any:
    return double.options(key="lost", allow_failure=True)(count)


@flow
def tolerant(count: int) -> Any:
    return double.options(key="lost").map(list(range(count)), tolerate=1)


@flow
def strict(count: int) -> Any:
    return double.options(key="lost").map(list(range(count)))


def lose_worker(played: Played, step_id: StepRunId) -> None:
    """Let a worker take a step and die, and the step have been recovered often before."""
    records = played.stage.records
    token = LeaseToken(uuids.uuid7())
    lease = timedelta(seconds=60)
    assert records.autocommit(
        lambda tx: tx.steps.claim(step_id, token=token, lease=lease, worker="host:7")
    )
    lost = update(FlowStepRun).where(FlowStepRun.id == step_id)
    change(records, lost.values(lease_expires_at=DbNow(-1), recoveries=5, attempt=6))


@pytest.mark.parametrize("advance_is_lost", [False, True])
@pytest.mark.parametrize(
    "lost_in, is_item, status",
    [
        (plain, False, RunState.FAILED),
        (allowed, False, RunState.COMPLETED),
        (tolerant, True, RunState.COMPLETED),
        (strict, True, RunState.FAILED),
    ],
)
def test_step_that_lost_its_worker_too_often_fails_as_its_flow_says(
    records: SqlRecords, lost_in: Any, is_item: bool, status: RunState, advance_is_lost: bool
) -> None:
    stage = Stage.on(records)
    played = stage.submit(lost_in, {"count": 3})
    node = node_id(played.id, "lost")
    lose_worker(played, item_id(node, 1) if is_item else node)

    stage.sweep()
    if advance_is_lost:
        stage.dispatcher.clear()
        make_late(records)
        stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.status is status
    if status is RunState.FAILED:
        assert "its worker died or stopped responding" in played.error
        assert "host:7" in played.error
        assert "FLOWQ_MAX_RECOVERIES" in played.error
    elif is_item:
        first, failure, last = played.result()
        assert (first, last) == (0, 4)
        assert (failure.error, failure.index) == ("WorkerLost", 1)
    else:
        assert played.step("lost").error_type == "WorkerLost"


# --- deadlines -----------------------------------------------------------------------------------


@flow
def three(count: int) -> int:
    return total([double.options(key="a")(count), double.options(key="b")(count)])


@flow
def parent_of_three(count: int) -> int:
    return double(three(count))


def pass_deadline(played: Played, flow_name: str) -> None:
    late = update(FlowRun).where(FlowRun.flow_name == flow_name)
    change(played.stage.records, late.values(deadline=DbNow(-1)))


def test_run_past_its_deadline_fails_and_what_runs_may_end(records: SqlRecords) -> None:
    stage = Stage.on(records)
    played = stage.submit(three, {"count": 1})
    token = LeaseToken(uuids.uuid7())
    running = records.autocommit(
        lambda tx: tx.steps.claim(
            node_id(played.id, "a"), token=token, lease=timedelta(seconds=60), worker="host:1"
        )
    )
    assert running is not None
    pass_deadline(played, three.type.name)

    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.states() == {"a": StepState.RUNNING, "b": CANCELLED, "total": CANCELLED}
    assert played.view.status == "cancelling"
    assert records.autocommit(
        lambda tx: tx.steps.complete(running, Outcome(NO_RESULT), advanced=True)
    )
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert played.status is RunState.FAILED
    assert played.error.startswith("deadline passed: it was 20")


def test_deadline_ends_a_run_also_while_the_broker_is_away(records: SqlRecords) -> None:
    dispatcher = AwayDispatcher()
    stage = Stage.on(records)
    stage = Stage(replace(stage.engine, dispatcher=dispatcher), dispatcher, records)
    played = stage.submit(three, {"count": 1})
    dispatcher.away = True
    pass_deadline(played, three.type.name)

    with pytest.raises(BrokerUnavailable):
        stage.sweep()

    assert played.status is RunState.FAILED
    assert played.error.startswith("deadline passed: it was 20")


def test_parent_of_a_run_past_its_deadline_fails_with_it(records: SqlRecords) -> None:
    stage = Stage.on(records)
    played = stage.submit(parent_of_three, {"count": 1})
    stage.dispatcher.run(stage.engine, limit=1)  # the step that starts the child run
    pass_deadline(played, three.type.name)

    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.status is RunState.FAILED
    assert "deadline passed" in played.error


def test_reason_of_a_cancel_is_no_failure(records: SqlRecords) -> None:
    stage = Stage.on(records)
    played = stage.submit(three, {"count": 1})
    asked: dict[str, Any] = {
        "status": "cancelling",
        "cancel_requested_at": DbNow(),
        "error_message": "by ada",
    }
    asked |= {"stop_kind": "user", "failed_step_id": None}
    change(records, update(FlowRun).values(**asked))
    pass_deadline(played, three.type.name)

    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert (played.status, played.error) == (RunState.CANCELLED, "by ada")


def test_run_that_ends_in_time_is_left_alone(records: SqlRecords) -> None:
    stage = Stage.on(records)
    played = stage.play(three, count=2)
    pass_deadline(played, three.type.name)

    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert played.result() == 8


# --- deletion ------------------------------------------------------------------------------------


def runs_in(records: SqlRecords) -> int:
    with records.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(FlowRun)).scalar_one()


def test_old_runs_are_deleted_with_their_child_runs_and_objects(
    records: SqlRecords, objects: MemoryObjects
) -> None:
    stage = stage_with(records, objects)
    eager = stage_with(records, objects, retention=timedelta(seconds=-1))
    waiting = stage.submit(parent_of_three, {"count": 1})
    while records.autocommit(lambda tx: tx.runs.views(status=RunState.COMPLETED)) == []:
        stage.dispatcher.run(stage.engine, limit=1)  # until the child has ended
    of_waiting = objects.keys()
    stage.dispatcher.clear()
    ended = stage.play(parent_of_three, count=2)
    assert ended.result() == 16
    assert len(objects.keys()) > len(of_waiting) > 0
    assert runs_in(records) == 4

    assert collect(eager.engine) == 2

    assert records.autocommit(lambda tx: tx.runs.by_id(ended.id)) is None
    assert objects.keys() == of_waiting
    make_late(records)
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert waiting.result() == 8, "what its child run returned is still there"


def test_given_values_are_kept_as_long_as_their_run(
    records: SqlRecords, objects: MemoryObjects
) -> None:
    stage = stage_with(records, objects, orphans_after=timedelta(0))
    step = StepSpec(key="a", name=double.type.name, arguments={"number": {"$ref": "v"}})
    spec = FlowSpec(name="given", steps=(step,), output={"$ref": "v"})
    known = RegisteredFlow("given", trace=lambda _: spec, validate=lambda inputs: inputs)
    run_id = submission.submit(stage.engine, known, {}, values={"v": 21, "unused": "x"})
    of_run = objects.keys()

    assert (len(of_run), collect(stage.engine)) == (2, 0)
    stage.dispatcher.run(stage.engine)
    definition = stage.engine.definitions.get(run_id).definition
    assert 21 == output(stage.engine, definition)
    with records.engine.connect() as connection:
        connection.execute(delete(FlowRun).where(FlowRun.id == run_id))
    collect(stage.engine)
    assert not set(of_run) & set(objects.keys())


def test_nothing_is_deleted_without_a_retention(
    records: SqlRecords, objects: MemoryObjects
) -> None:
    stage = stage_with(records, objects)
    played = stage.play(three, count=2)
    change(records, update(FlowRun).values(completed_at=DbNow(-10_000 * 86400.0)))

    assert collect(stage.engine) == 0
    assert played.result() == 8


def test_crash_between_rows_and_objects_leaves_what_the_next_turn_finds(
    records: SqlRecords, objects: MemoryObjects
) -> None:
    past = timedelta(seconds=-1)  # also what has ended in this millisecond
    stage = stage_with(records, objects, retention=past, orphans_after=past)
    stage.play(three, count=2)
    kept = len(objects.keys())

    def crash(point: FaultPoint) -> None:
        if point is FaultPoint.AFTER_DELETE:
            raise KeyboardInterrupt

    with injected(crash), pytest.raises(KeyboardInterrupt):
        collect(stage.engine)
    assert runs_in(records) == 0
    assert len(objects.keys()) == kept > 0

    assert collect(stage.engine) == kept
    assert objects.keys() == []


def test_more_runs_than_one_turn_deletes_are_deleted_in_the_next_ones(
    records: SqlRecords, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_MAX_RUNS", 4)
    stage = stage_with(records, objects, retention=timedelta(0))
    for _ in range(10):
        stage.play(three, count=1)
    open_run = stage.submit(three, {"count": 1})
    stage.dispatcher.clear()

    left = []
    for _ in range(3):
        stage.sweep()
        stage.dispatcher.run(stage.engine)
        left.append(runs_in(records))

    assert left == [7, 3, 1]
    assert open_run.status is RunState.RUNNING


def lose_object(played: Played, objects: MemoryObjects, key: str = "a") -> str:
    """Leave what an attempt wrote that had lost its lease."""
    lost = object_key(played.id, node_id(played.id, key), LeaseToken(uuids.uuid7()))
    objects.put(lost, b"lost")
    return lost


def test_objects_that_no_row_names_are_deleted_when_they_are_old(
    records: SqlRecords, objects: MemoryObjects
) -> None:
    patient = stage_with(records, objects)
    eager = stage_with(records, objects, orphans_after=timedelta(seconds=-1))
    ended, going_on = patient.play(three, count=2), patient.submit(three, {"count": 2})
    named = objects.keys()
    lost = lose_object(ended, objects)
    of_running = lose_object(going_on, objects)
    objects.put("others/file", b"")

    assert collect(patient.engine) == 0
    assert collect(eager.engine) == 1

    assert set(objects.keys()) == {*named, of_running, "others/file"}
    with pytest.raises(ResultMissing):
        objects.get(lost)
    assert ended.result() == 8
    patient.dispatcher.run(patient.engine)
    assert going_on.result() == 8
    assert collect(eager.engine) == 1, "its step has ended with another result"


def test_each_pass_continues_where_the_last_one_ended(
    records: SqlRecords, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_PAGE", 3)
    monkeypatch.setattr(retention, "_MAX_PAGES", 2)
    stage = stage_with(records, objects, orphans_after=timedelta(0))
    played = stage.play(three, count=2)
    for _ in range(20):
        lose_object(played, objects)

    deleted = [collect(stage.engine) for _ in range(5)]

    assert sum(deleted) == 20
    assert max(deleted) <= 6
    assert played.result() == 8


def test_collecting_is_asked_for_once_an_hour(records: SqlRecords) -> None:
    stage = Stage.on(records)

    def asked() -> int:
        stage.sweep()
        return sum(one.batch is None for one in stage.dispatcher.waiting)

    assert [asked() for _ in range(3)] == [1, 1, 1]
    change(records, update(FlowDuty).values(due_at=DbNow(-1)))
    assert asked() == 2
