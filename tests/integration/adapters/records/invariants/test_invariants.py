"""The invariants hold for runs of every outcome; and whatever breaks one is found, by it alone.

Each test breaks rows by plain SQL in a transaction of its own, asks within it, and rolls it back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import Connection, Table, delete, insert, literal, select, update

from flowq import RetryPolicy, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import Base
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core.ids import LeaseToken, RunId, StepRunId, item_id, node_id
from flowq.core.states import RunState, StepState, StopKind
from flowq.engine.engine import Policies
from flowq.engine.model.rows import Outcome, Violation
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Records
from flowq.engine.runs.submission import submit
from flowq.engine.sweeper.invariants import check, invariants, missing_objects
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage

T = TypeVar("T")
RUNS: Table = Base.metadata.tables["flow_runs"]
STEPS: Table = Base.metadata.tables["flow_step_runs"]
NOW = timedelta(0)
HOUR = timedelta(hours=1)


@step
def add(left: Any = 1, right: Any = 1) -> int:
    return int(left) + int(right)


@step
def stumble(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number


@step(retry=RetryPolicy(max_attempts=2, initial_delay=timedelta(0)))
def stumble_twice(number: int) -> int:
    return stumble(number)


@flow
def good(n: int) -> int:
    first = add.options(key="first")(n, 1)
    second = add.options(key="second")(first, 1)
    add.options(key="skipped", when=second > 1_000)(second, 1)
    return add.options(key="last")(first, second)


@flow
def mapped(values: list[int]) -> Any:
    return stumble.options(key="map").map(values, tolerate=1)


@flow
def failing(n: int) -> int:
    bad = stumble_twice.options(key="bad")(n)
    return add.options(key="after")(bad, 1)


@flow
def lenient(n: int) -> int:
    stumble.options(key="bad", allow_failure=True)(n)
    return add.options(key="fine")(1, 1)


@flow
def parent(n: int) -> int:
    return add.options(key="after")(good.options(key="child")(n), 1)


@dataclass(frozen=True)
class Good:
    """A database in which everything is well."""

    records: SqlRecords
    done: Played
    items: Played
    failed: Played
    lenient: Played
    family: Played
    waiting: Played  #: Its child run is open; nothing of it has run yet.
    fresh: Played  #: Its first step is queued.
    cancelled: Played
    delayed: Played  #: It has not begun.

    def step(self, played: Played, key: str, index: int | None = None) -> StepRunId:
        node = node_id(played.id, key)
        return node if index is None else item_id(node, index)


def leave_open(stage: Stage) -> None:
    """Leave runs in the middle: a step is running, one retries, one has lost its worker for good,
    items of a map are queued.
    """
    claimed, retrying, lost = (stage.submit(failing, {"n": -1}) for _ in range(3))
    stage.submit(mapped, {"values": [1, 2]})
    stage.dispatcher.clear()
    for played, lease in ((claimed, HOUR), (retrying, HOUR), (lost, -HOUR)):
        token, place = LeaseToken(uuids.uuid7()), node_id(played.id, "bad")
        claim = stage.records.autocommit(
            lambda tx: tx.steps.claim(place, token=token, lease=lease, worker="w")  # noqa: B023
        )
        assert claim is not None
        if played is retrying:
            why = Outcome(error_type="E", error_message="e")
            assert stage.records.autocommit(lambda tx: tx.steps.retry(claim, why, HOUR))  # noqa: B023
    lapsed = stage.records.transaction(
        lambda tx: tx.sweeps.expired_leases(max_recoveries=0, resend_after=HOUR, limit=9)
    )
    assert [True] == [one.failed for one in lapsed]
    stage.dispatcher.send_advance([one.batch for one in lapsed])
    stage.dispatcher.run(stage.engine)
    assert RunState.FAILED is lost.status
    assert {StepState.RUNNING, StepState.RETRYING} == {
        played.states()["bad"] for played in (claimed, retrying)
    }


#: The runs of `db` are played once; each test breaks them and puts them right.
SHARES_ROWS = True


@pytest.fixture(scope="module")
def db(records: SqlRecords) -> Good:
    # However slow the tests are, what is left open is not due before they end.
    stage = Stage.on(records, policies=Policies(lease=HOUR, resend_after=HOUR))
    waiting = stage.submit(parent, {"n": 1})
    stage.dispatcher.run(stage.engine, limit=1)
    stage.dispatcher.clear()
    leave_open(stage)
    stopped = stage.submit(good, {"n": 1})
    why = StopReason(StopKind.USER, "why")
    records.transaction(lambda tx: tx.runs.request_cancel([stopped.id], why))
    stage.dispatcher.run(stage.engine)
    fresh = stage.submit(good, {"n": 1})
    stage.dispatcher.clear()
    made = Good(
        records,
        done=stage.play(good, n=1),
        items=stage.play(mapped, values=[1, -2, 3]),
        failed=stage.play(failing, n=-1),
        lenient=stage.play(lenient, n=-1),
        family=stage.play(parent, n=2),
        waiting=waiting,
        fresh=fresh,
        cancelled=stopped,
        delayed=Played(stage, submit(stage.engine, good.type, {"n": 1}, delay=HOUR), good),
    )
    stage.play(mapped, values=[])
    stage.play(mapped, values=[-1, -1])
    assert [RunState.COMPLETED, RunState.COMPLETED, RunState.FAILED] == [
        made.done.status,
        made.items.status,
        made.failed.status,
    ]
    assert RunState.COMPLETED is made.lenient.status
    assert RunState.COMPLETED is made.family.status
    assert RunState.CANCELLED is made.cancelled.status
    assert {"child": StepState.WAITING, "after": StepState.PENDING} == made.waiting.states()
    assert StepState.QUEUED is made.fresh.states()["first"]
    return made


class _Undo(Exception):
    """Ends a transaction without a trace."""


@dataclass(frozen=True)
class _Within:
    """Records whose every transaction is one that is open already."""

    tx: SqlTransaction

    def autocommit(self, work: Callable[[SqlTransaction], T]) -> T:
        return work(self.tx)


def broken(
    db: Good, *statements: Any, grace: timedelta = NOW, max_recoveries: int = 5
) -> list[Violation]:
    """Return what is found once these statements have run; undoes them."""
    found: list[Violation] = []

    def work(tx: SqlTransaction) -> None:
        connection = cast(Connection, tx.within)
        for statement in statements:
            assert connection.execute(statement).rowcount != 0
        within = cast(Records, _Within(tx))
        found.extend(check(within, grace=grace, max_recoveries=max_recoveries))
        raise _Undo

    with pytest.raises(_Undo):
        db.records.transaction(work)
    return found


def places(found: Sequence[Violation]) -> list[tuple[str, RunId | None, StepRunId | None]]:
    return [(one.invariant, one.run_id, one.step_id) for one in found]


def set_run(played: Played, **values: Any) -> Any:
    return update(RUNS).where(RUNS.c.id == played.id).values(values)


def set_step(step_id: StepRunId, **values: Any) -> Any:
    return update(STEPS).where(STEPS.c.id == step_id).values(values)


def copied(step_id: StepRunId, new_id: StepRunId, **values: Any) -> Any:
    """Insert a copy of a step with other values."""
    new = {"id": new_id, **values}
    names = [column.name for column in STEPS.c if column.name not in new]
    kept = [STEPS.c[name] for name in names]
    other = [literal(value, STEPS.c[name].type) for name, value in new.items()]
    return insert(STEPS).from_select(
        [*names, *new], select(*kept, *other).where(STEPS.c.id == step_id)
    )


# --- all is well ----------------------------------------------------------------------------------


def test_runs_of_every_outcome_break_nothing(db: Good) -> None:
    assert_invariants(db.records)
    assert [] == broken(db)


def test_a_violation_fails_a_test_with_its_row(db: Good) -> None:
    found = broken(db, set_run(db.done, total_tokens=7))

    assert len(found) == 1
    assert str(found[0]).startswith(f"run totals: run {db.done.id}: total_steps is 4, its ")
    assert "total_tokens is 7, its steps make 0; " in str(found[0])


# --- runs -----------------------------------------------------------------------------------------

RUN_FAULTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "at rest": ("run moves", "done", {"status": "running", "completed_at": None}),
    "at rest, stopping": ("run moves", "done", {"status": "cancelling", "completed_at": None}),
    "no end time": ("run ends", "done", {"completed_at": None}),
    "an end time": ("run ends", "fresh", {"completed_at": DbNow()}),
    "steps": ("run totals", "done", {"total_steps": 3}),
    "progress": ("run totals", "items", {"step_progress": 4}),
    "tokens": ("run totals", "failed", {"total_tokens": 1}),
    "cost": ("run totals", "lenient", {"total_cost": 1}),
    "no error": (
        "run outcome",
        "failed",
        {"error_message": None, "stop_kind": None, "failed_step_id": None},
    ),
    "an error": ("run outcome", "done", {"error_message": "no", "stop_kind": "user"}),
    "text without a kind": ("run stop", "cancelled", {"stop_kind": None}),
    "kind without a text": ("run stop", "fresh", {"stop_kind": "user"}),
    "failed by no step": ("run stop", "failed", {"failed_step_id": None}),
    "failed by a step that is gone": ("run stop", "failed", {"failed_step_id": uuids.uuid7()}),
    "step of another kind": ("run stop", "failed", {"stop_kind": "deadline"}),
    "child without a step": ("child run", "fresh", {"parent_step_run_id": uuids.uuid7()}),
    "started from no document": ("run document", "fresh", {"document_id": uuids.uuid7()}),
    "pending, though it began": (
        "run is pending",
        "fresh",
        {"status": "pending", "starts_at": DbNow(3600.0)},
    ),
    "nothing begins it": ("run begins", "delayed", {"starts_at": None}),
    "should have begun": ("run begins", "delayed", {"starts_at": DbNow(-60.0)}),
    "another spec": ("nodes", "done", {"spec": {"name": "good", "steps": []}}),
}


@pytest.mark.parametrize("fault", RUN_FAULTS)
def test_a_wrong_run_is_found_by_one_invariant(db: Good, fault: str) -> None:
    invariant, which, values = RUN_FAULTS[fault]
    played: Played = getattr(db, which)

    found = broken(db, set_run(played, **values))

    assert [(invariant, played.id, None)] == places(found)


def test_an_open_step_of_a_run_that_has_ended_is_found(db: Good) -> None:
    last = db.step(db.cancelled, "last")
    reopened = {"status": "pending", "pending_dependencies": 0, "completed_at": None}

    found = broken(db, set_step(last, **reopened))

    assert [("run is whole", db.cancelled.id, last)] == places(found)
    assert "the run is cancelled, this step pending" == found[0].what


def test_a_cancelled_step_of_a_completed_run_is_found(db: Good) -> None:
    skipped = db.step(db.done, "skipped")

    found = broken(db, set_step(skipped, status="cancelled"), set_run(db.done, step_progress=3))

    assert [("run outcome", db.done.id, skipped)] == places(found)


def test_a_run_without_its_steps_is_found_once_it_has_lasted(db: Good) -> None:
    alone = set_run(db.done, status="running", completed_at=None)

    assert [] == broken(db, alone, grace=HOUR)
    assert [("run moves", db.done.id, None)] == places(broken(db, alone))


# --- steps ----------------------------------------------------------------------------------------

#: From a fault to the invariant, the run, the step, its index, and what is wrong with it.
STEP_FAULTS: dict[str, tuple[str, str, str, int | None, dict[str, Any]]] = {
    "a lease on what has ended": ("lease", "done", "first", None, {"lease_token": uuids.uuid7()}),
    "a lease on what is queued": ("lease", "fresh", "first", None, {"lease_expires_at": DbNow(60)}),
    "running without a lease": (
        "lease",
        "fresh",
        "first",
        None,
        {"status": "running", "wake_at": None},
    ),
    "running without an end of its lease": (
        "lease",
        "fresh",
        "first",
        None,
        {"status": "running", "wake_at": None, "lease_token": uuids.uuid7()},
    ),
    "with a share that its run has not": ("share", "done", "first", None, {"share": "a"}),
    "queued without a timer": ("timer", "fresh", "first", None, {"wake_at": None}),
    "queued without a batch": ("timer", "fresh", "first", None, {"batch_id": None}),
    "ended with a timer": ("timer", "done", "last", None, {"wake_at": DbNow(60)}),
    "waiting with a timer": ("timer", "waiting", "child", None, {"wake_at": DbNow(60)}),
    "queued and never sent again": ("on time", "fresh", "first", None, {"wake_at": DbNow(-60)}),
    "lapsed and not recovered": (
        "on time",
        "fresh",
        "first",
        None,
        {
            "status": "running",
            "wake_at": None,
            "lease_token": uuids.uuid7(),
            "lease_expires_at": DbNow(-60),
        },
    ),
    "out of sight though its run goes on": (
        "parked step",
        "fresh",
        "first",
        None,
        {"wake_at": DbNow(36_500 * 86_400)},
    ),
    "no end time": ("step ends", "items", "map", 1, {"completed_at": None}),
    "an end time": ("step ends", "fresh", "first", None, {"completed_at": DbNow()}),
    "completed with an error": ("step error", "done", "first", None, {"error_type": "E"}),
    "completed with a message": ("step error", "items", "map", None, {"error_message": "e"}),
    "failed without an error": ("step error", "failed", "bad", None, {"error_type": None}),
    "failed without a message": ("step error", "lenient", "bad", None, {"error_message": None}),
    "no result": ("step result", "items", "map", 2, {"result": None}),
    "no copy of the result": ("step result", "done", "last", None, {"outputs": None}),
    "counts below zero": ("step waits", "cancelled", "last", None, {"pending_dependencies": -1}),
    "ended and waits": ("step waits", "done", "last", None, {"pending_dependencies": 1}),
    "not advanced": ("step advanced", "failed", "bad", None, {"advanced": False}),
    "recovered too often": ("recoveries", "done", "first", None, {"recoveries": 7, "attempt": 8}),
    "recovered more than tried": ("recoveries", "done", "first", None, {"recoveries": 2}),
    "counts too much": ("dependencies", "fresh", "last", None, {"pending_dependencies": 3}),
    "counts too little": ("dependencies", "fresh", "last", None, {"pending_dependencies": 1}),
    "tried too often": ("attempts", "failed", "bad", None, {"attempt": 3}),
    "began too early": ("order", "done", "second", None, {"started_at": DbNow(-3600)}),
    "map that is too long": ("map items", "items", "map", None, {"map_size": 4}),
    "map over nothing with items": ("map items", "items", "map", None, {"map_size": 0}),
}


@pytest.mark.parametrize("fault", STEP_FAULTS)
def test_a_wrong_step_is_found_by_one_invariant(db: Good, fault: str) -> None:
    invariant, which, key, index, values = STEP_FAULTS[fault]
    played: Played = getattr(db, which)
    step_id = db.step(played, key, index)

    found = broken(db, set_step(step_id, **values))

    assert [(invariant, played.id, step_id)] == places(found)
    assert [(key, index)] == [(one.key, one.map_index) for one in found]


def test_what_is_on_its_way_is_no_fault(db: Good) -> None:
    late = set_step(db.step(db.fresh, "first"), wake_at=DbNow(-60))
    not_advanced = set_step(db.step(db.failed, "bad"), advanced=False)
    undecided = set_step(db.step(db.fresh, "first"), status="pending")

    assert [] == broken(db, late, not_advanced, grace=HOUR)
    assert [] == broken(db, undecided, grace=HOUR)


def test_a_step_that_nobody_queued_is_found(db: Good) -> None:
    first = db.step(db.fresh, "first")

    found = broken(db, set_step(first, status="pending"))

    assert [("ready", db.fresh.id, first)] == places(found)


def test_a_step_that_began_before_its_dependency_is_found(db: Good) -> None:
    second = db.step(db.fresh, "second")
    begun = {"status": "queued", "pending_dependencies": 0, "batch_id": "n"}

    found = broken(db, set_step(second, **begun))

    assert [("dependencies", db.fresh.id, second)] == places(found)
    assert "it is queued, but ['first'] are not terminal" == found[0].what


def test_a_second_row_of_a_step_is_found(db: Good) -> None:
    new = StepRunId(uuids.uuid7())  # later than the first, as its id says
    node = copied(db.step(db.fresh, "skipped"), new)
    item = copied(db.step(db.items, "map", 0), new)

    assert [("step once", db.fresh.id, new)] == places(broken(db, node))
    # The number of items is wrong then, too.
    assert ("step once", db.items.id, new) in places(broken(db, item))


def test_a_map_whose_items_are_not_numbered_in_a_row_is_found(db: Good) -> None:
    found = broken(db, set_step(db.step(db.items, "map", 1), map_index=9))

    assert [("map items", db.items.id, db.step(db.items, "map"))] == places(found)
    assert "map_size is 3, it has 3 items, from 0 to 9" == found[0].what


def test_items_of_a_step_that_is_no_map_are_found(db: Good) -> None:
    node = db.step(db.fresh, "first")
    item = copied(node, StepRunId(uuids.uuid7()), map_index=0)

    assert [("map items", db.fresh.id, node)] == places(broken(db, item))


def test_items_without_a_map_are_found(db: Good) -> None:
    new = StepRunId(uuids.uuid7())
    item = copied(db.step(db.fresh, "first"), new, map_index=0, step_key="nobody")

    assert [("map items", db.fresh.id, new)] == places(broken(db, item))


def test_a_running_map_whose_items_have_all_ended_is_found(db: Good) -> None:
    node = db.step(db.items, "map")
    running = set_run(db.items, status="running", completed_at=None)
    open_map = set_step(node, status="running", completed_at=None, advanced=False)
    moving = set_step(
        db.step(db.items, "map", 0), status="queued", wake_at=DbNow(60), completed_at=None
    )

    assert [("map ends", db.items.id, node), ("run moves", db.items.id, None)] == sorted(
        places(broken(db, running, open_map)), key=str
    )
    assert [] == broken(db, running, open_map, moving)
    assert [] == broken(db, running, open_map, grace=HOUR)


def test_a_step_that_waits_for_nobody_is_found(db: Good) -> None:
    waiting = db.step(db.waiting, "child")
    childless = update(RUNS).where(RUNS.c.parent_step_run_id == waiting)

    found = broken(db, childless.values(parent_step_run_id=None))

    assert [("child run", db.waiting.id, waiting)] == places(found)


def test_a_child_run_that_nobody_waits_for_is_found(db: Good) -> None:
    adopted = set_run(db.fresh, parent_step_run_id=db.step(db.done, "first"))

    assert [("child run", db.fresh.id, None)] == places(broken(db, adopted))
    assert [] == broken(db, adopted, grace=HOUR)


def test_a_failure_that_was_not_allowed_in_a_completed_run_is_found(db: Good) -> None:
    nothing = {"error_message": None, "stop_kind": None, "failed_step_id": None}
    lied = set_run(db.failed, status="completed", **nothing)
    after = set_step(db.step(db.failed, "after"), status="skipped", pending_dependencies=0)

    found = broken(db, lied, after, set_run(db.failed, step_progress=2))

    assert [("allowed failure", db.failed.id, db.step(db.failed, "bad"))] == places(found)


def test_a_node_that_is_gone_is_found(db: Good) -> None:
    gone = delete(STEPS).where(STEPS.c.id == db.step(db.fresh, "last"))

    found = broken(db, gone)

    assert [("nodes", db.fresh.id, None)] == places(found)
    assert "it lacks the nodes ['last'] and has [] of its own" == found[0].what


def test_recoveries_are_judged_by_the_cap_that_holds(db: Good) -> None:
    often = set_step(db.step(db.done, "first"), recoveries=7, attempt=8)

    assert [] == broken(db, often, max_recoveries=6)


# --- objects --------------------------------------------------------------------------------------


@flow
def large(n: int) -> int:
    return add.options(key="sum")(n, n)


def test_objects_that_rows_name_are_looked_for(records: SqlRecords) -> None:
    stage = Stage.on(records, threshold=0)
    played = stage.play(large, n=1)
    place = node_id(played.id, "sum")
    row = records.autocommit(lambda tx: tx.steps.by_id(place))
    assert row is not None
    assert row.result is not None
    key, objects = row.result["key"], stage.engine.results._objects()

    assert [] == missing_objects(records, stage.engine.results)
    objects.put(key, b"123")
    assert [f"the object {key} has 3 bytes, 1 bytes were written"] == [
        one.what for one in missing_objects(records, stage.engine.results)
    ]
    objects.delete([key])
    found = missing_objects(records, stage.engine.results)
    assert [("objects", played.id, place)] == places(found)
    assert "is not there" in found[0].what


def test_every_invariant_is_listed_once_and_broken_by_a_test(records: SqlRecords) -> None:
    listed = [one.name for one in invariants(records, objects=True)]
    tested = {fault[0] for fault in [*RUN_FAULTS.values(), *STEP_FAULTS.values()]}
    alone = {"run is whole", "step once", "map ends", "ready", "allowed failure", "objects"}
    alone |= {"calls", "program waits", "signals"}  # test_programs
    alone |= {"parked step"}  # test_pause
    alone |= {"line goes on"}  # engine/advance/test_shares
    alone |= {"readable"}  # test_unreadable
    alone |= {"logs"}  # engine/logs/test_logs
    alone |= {"actions"}  # engine/runs/test_actions
    alone |= {"rerun"}  # engine/runs/test_rerun
    alone |= {"schedules"}  # engine/schedules/test_starting

    assert len(set(listed)) == len(listed)
    assert set(listed) == tested | alone
