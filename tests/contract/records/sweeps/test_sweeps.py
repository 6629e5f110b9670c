"""What every database does for turns, deadlines and the deletion of what is old, and how fast.

The rest of the sweeps stands in test_records.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import delete, event, func, insert, select, update

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowDuty, FlowRun, FlowStepRun, LlmRequest
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import FIRST_ID, LeaseToken, RunId, StepRunId, child_run_id, node_id
from flowq.core.results import ResultRef, StorageKind, object_key
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import RunState, StopKind
from flowq.engine.model.rows import Claim, NewRun, NewStep, Outcome
from flowq.engine.model.stops import StopReason
from flowq.engine.model.sweeps import RunIdRange
from tests.tools.session.databases import empty_uncounted

LATER = timedelta(seconds=60)
WEEK = timedelta(days=7)
FIRST = RunId(FIRST_ID)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def new_id(days: float) -> RunId:
    """Return an id as it was made so many days ago."""
    then = datetime.now(UTC) - timedelta(days=days)
    random = uuids.uuid7().int % (1 << 80)
    return RunId(UUID(int=int(then.timestamp() * 1000) << 80 | random))


def new_run(records: SqlRecords, *, parent: StepRunId | None = None, days: float = 20) -> RunId:
    """Insert a run of one step, `a`, with an id that is some days old."""
    run_id = new_id(days) if parent is None else child_run_id(parent)
    spec = FlowSpec(name="flow", steps=(StepSpec(key="a", name="steps.a"),))
    step = NewStep(node_id(run_id, "a"), "a", "steps.a", 1, 0, {})
    run = NewRun(run_id, "flow", spec, {}, (step,), parent=parent)
    assert records.transaction(lambda tx: tx.runs.insert([run], LATER))
    return run_id


def claimed(records: SqlRecords, run_id: RunId) -> Claim:
    step_id, token = node_id(run_id, "a"), LeaseToken(uuids.uuid7())
    change(records, update(FlowStepRun).where(FlowStepRun.id == step_id).values(status="queued"))
    found = records.autocommit(
        lambda tx: tx.steps.claim(step_id, token=token, lease=LATER, worker="host:1")
    )
    assert found is not None
    return found


def completed(records: SqlRecords, run_id: RunId, *, days: float = 10) -> str:
    """Complete a run, so many days ago, whose step has a large result; returns the object's key."""
    one = claimed(records, run_id)
    ref = ResultRef(
        place=StorageKind.OBJECT, key=object_key(run_id, one.id, one.token), size=9, sha256="x"
    )
    assert records.autocommit(lambda tx: tx.steps.complete(one, Outcome(ref), advanced=True))
    assert records.autocommit(lambda tx: tx.runs.close(run_id, RunState.COMPLETED))
    ended = update(FlowRun).where(FlowRun.id == run_id)
    change(records, ended.values(completed_at=DbNow(-days * 86400)))
    return ref.key


def change(records: SqlRecords, statement: Any) -> None:
    with records.engine.connect() as connection:
        connection.execute(statement)


def count(records: SqlRecords, model: Any) -> int:
    with records.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(model)).scalar_one()


# --- turns ---------------------------------------------------------------------------------------


def test_of_many_sweepers_one_has_the_turn(records: SqlRecords) -> None:
    start = Barrier(6)

    def take(_: int) -> str | None:
        start.wait(60)
        return records.autocommit(lambda tx: tx.sweeps.try_acquire("collect", LATER))

    with ThreadPoolExecutor(6) as pool:
        turns = list(pool.map(take, range(6)))

    assert sorted(turns, key=str) == ["", *[None] * 5]
    assert records.autocommit(lambda tx: tx.sweeps.try_acquire("inspect", LATER)) == "", (
        "another duty"
    )


def test_next_turn_comes_in_time_and_begins_where_the_last_one_ended(records: SqlRecords) -> None:
    def turn() -> str | None:
        return records.autocommit(lambda tx: tx.sweeps.try_acquire("collect", LATER))

    assert turn() == ""
    records.autocommit(lambda tx: tx.sweeps.save_cursor("collect", "here"))
    assert turn() is None
    assert records.autocommit(lambda tx: tx.sweeps.position("collect")) == "here"

    change(records, update(FlowDuty).values(due_at=DbNow(-1)))
    assert turn() == "here"
    records.autocommit(lambda tx: tx.sweeps.save_cursor("collect", "there", again=True))
    assert turn() == "there", "it was due at once"
    assert turn() is None


def test_turns_are_taken_though_somebody_has_emptied_the_tables(records: SqlRecords) -> None:
    change(records, delete(FlowDuty))

    assert records.autocommit(lambda tx: tx.sweeps.position("collect")) == ""
    assert records.autocommit(lambda tx: tx.sweeps.try_acquire("collect", LATER)) == ""
    assert records.autocommit(lambda tx: tx.sweeps.try_acquire("collect", LATER)) is None


def test_open_runs_are_gone_through_in_slices(records: SqlRecords) -> None:
    ids = sorted(new_run(records) for _ in range(5))
    ended = new_run(records)
    completed(records, ended)
    seen: list[RunId] = []
    after, bounds = FIRST, []
    while True:
        part = records.autocommit(lambda tx, after=after: tx.sweeps.slice(after, limit=2))  # type: ignore[misc]
        seen += records.autocommit(
            lambda tx, part=part: tx.sweeps.stalled(within=part, grace=-LATER, limit=10)  # type: ignore[misc]
        )
        bounds.append(part.to)
        if part.to is None:
            break
        after = part.to

    assert sorted(seen) == ids
    assert bounds == [ids[1], ids[3], None]


def test_progress_that_is_oldest_is_written_first(records: SqlRecords) -> None:
    ids = [new_run(records) for _ in range(3)]
    for age, index in enumerate((1, 2, 0)):
        seen = update(FlowRun).where(FlowRun.id == ids[index])
        change(records, seen.values(last_heartbeat=DbNow(-100 + age)))

    found = records.autocommit(
        lambda tx: tx.sweeps.stale(within=RunIdRange(FIRST, None), age=LATER, limit=2)
    )

    assert found == [ids[1], ids[2]]


# --- deadlines -----------------------------------------------------------------------------------


def test_runs_past_their_deadline_are_found_until_they_are_stopped(records: SqlRecords) -> None:
    late, later, in_time, without, ended = (new_run(records) for _ in range(5))
    for run_id, seconds in ((late, -60), (later, -50), (in_time, 60), (ended, -60)):
        query = update(FlowRun).where(FlowRun.id == run_id)
        change(records, query.values(deadline=DbNow(seconds)))
    completed(records, ended)

    def overdue(limit: int = 10) -> list[RunId]:
        return [found[0] for found in records.autocommit(lambda tx: tx.sweeps.overdue(limit=limit))]

    assert overdue() == [late, later]
    assert overdue(limit=1) == [late]
    passed = StopReason(StopKind.DEADLINE, "deadline passed")
    assert without not in overdue()
    assert records.autocommit(lambda tx: tx.runs.stop(late, passed))
    assert overdue() == [later]


# --- deletion ------------------------------------------------------------------------------------


def expired(records: SqlRecords, after: RunId = FIRST, limit: int = 100) -> list[RunId]:
    return records.autocommit(lambda tx: tx.sweeps.expired(WEEK, after=after, limit=limit))


def test_ended_runs_expire_and_open_ones_and_child_runs_do_not(records: SqlRecords) -> None:
    old = sorted(new_run(records) for _ in range(3))
    for run_id in old:
        completed(records, run_id, days=10)
    completed(records, new_run(records), days=3)
    still_open = new_run(records)
    completed(records, new_run(records, parent=node_id(still_open, "a")), days=10)
    completed(records, new_run(records, parent=node_id(old[0], "a")), days=10)

    assert expired(records) == old
    assert expired(records, limit=2) == old[:2]
    assert expired(records, after=old[1]) == old[2:]


def test_child_run_whose_parent_is_gone_expires_by_itself(records: SqlRecords) -> None:
    orphan = new_run(records, parent=node_id(new_id(20), "a"))
    completed(records, orphan)

    assert expired(records) == [orphan]


def test_run_is_deleted_with_all_that_it_started(records: SqlRecords) -> None:
    root = new_run(records)
    child = new_run(records, parent=node_id(root, "a"))
    grandchild = new_run(records, parent=node_id(child, "a"))
    other = new_run(records)
    keys = {completed(records, run_id) for run_id in (root, child, grandchild)}
    completed(records, other)
    for run_id in (child, other):
        call = {"id": uuids.uuid7(), "provider": "p", "model": "m", "status": "completed"}
        change(
            records,
            insert(LlmRequest).values(**call, flow_run_id=run_id, created_at=DbNow()),
        )

    deleted = records.transaction(lambda tx: tx.sweeps.delete_tree(root))

    assert deleted is not None
    assert set(deleted.runs) == {root, child, grandchild}
    assert set(deleted.objects) == keys
    assert expired(records) == [other]
    assert [count(records, model) for model in (FlowRun, FlowStepRun, LlmRequest)] == [1, 1, 1]
    again = records.transaction(lambda tx: tx.sweeps.delete_tree(root))
    assert again is not None
    assert again.runs == ()


def test_nothing_of_a_tree_is_deleted_while_any_of_it_is_open(records: SqlRecords) -> None:
    root = new_run(records)
    child = new_run(records, parent=node_id(root, "a"))
    grandchild = new_run(records, parent=node_id(child, "a"))
    for run_id in (root, child):
        completed(records, run_id)

    assert records.transaction(lambda tx: tx.sweeps.delete_tree(root)) is None
    assert count(records, FlowRun) == 3

    completed(records, grandchild)
    deleted = records.transaction(lambda tx: tx.sweeps.delete_tree(root))
    assert deleted is not None
    assert len(deleted.runs) == 3


def test_many_that_delete_the_same_run_at_once_delete_it_once(records: SqlRecords) -> None:
    root = new_run(records)
    child = new_run(records, parent=node_id(root, "a"))
    for run_id in (root, child):
        completed(records, run_id)
    start = Barrier(6)

    def drop(_: int) -> list[RunId]:
        start.wait(60)
        tree = records.transaction(lambda tx: tx.sweeps.delete_tree(root))
        return list(tree.runs) if tree else []

    with ThreadPoolExecutor(6) as pool:
        deleted = [run_id for part in pool.map(drop, range(6)) for run_id in part]

    assert sorted(deleted) == sorted([root, child])


def test_unreferenced_objects_are_distinguished(records: SqlRecords) -> None:
    ended, going_on, gone = new_run(records), new_run(records), new_id(20)
    named = completed(records, ended)
    attempt = claimed(records, going_on)
    on_its_way = object_key(going_on, attempt.id, attempt.token)
    of_a_loser = object_key(ended, node_id(ended, "a"), LeaseToken(uuids.uuid7()))
    of_a_deleted = object_key(gone, node_id(gone, "a"), LeaseToken(uuids.uuid7()))
    of_others = ["results/readme", "results/a/b/c", "flowq-check/1"]

    found = records.autocommit(
        lambda tx: tx.sweeps.unnamed([named, on_its_way, of_a_loser, of_a_deleted, *of_others])
    )

    assert set(found) == {of_a_loser, of_a_deleted}
    assert records.autocommit(lambda tx: tx.sweeps.unnamed([])) == []


# --- indexes -------------------------------------------------------------------------------------

QUESTIONS: dict[str, Any] = {
    "ix_flow_step_runs_lease_expires_at": lambda s: s.expired_leases(
        max_recoveries=3, resend_after=LATER, limit=10
    ),
    "ix_flow_step_runs_retrying": lambda s: s.due(resend_after=LATER, limit=10),
    "ix_flow_step_runs_queued": lambda s: s.unclaimed(limit=10),
    "ix_flow_step_runs_unadvanced": lambda s: s.unadvanced(grace=LATER, limit=10),
    "ix_flow_step_runs_expanded": lambda s: s.unadvanced(grace=LATER, limit=10),
    "ix_flow_runs_deadline": lambda s: s.overdue(limit=10),
    "ix_flow_runs_open": lambda s: s.slice(FIRST, limit=10),
}


@pytest.mark.parametrize("index", QUESTIONS)
def test_question_is_answered_from_its_own_index(records: SqlRecords, index: str) -> None:
    plans: list[str] = []
    is_sqlite = records.url.get_backend_name() == "sqlite"

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(("SELECT", "UPDATE")):
            return
        if not is_sqlite:
            empty_uncounted(cursor, "flow_runs", "flow_step_runs")
            # An empty table is read from end to end, if that is allowed.
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{statement}", parameters)
        plans.append("\n".join(str(line) for line in cursor.fetchall()))

    records.autocommit(lambda tx: tx.runs.status(FIRST))  # it has looked at the tables' revision
    event.listen(records.engine, "before_cursor_execute", explain)
    records.transaction(lambda tx: QUESTIONS[index](tx.sweeps))
    event.remove(records.engine, "before_cursor_execute", explain)

    if is_sqlite:
        # It may prefer an index on all states, which is as good.
        assert not [plan for plan in plans if re.search(r"SCAN \w+(?! USING INDEX)\b", plan)]
        return
    (plan,) = [plan for plan in plans if index in plan]
    if index != "ix_flow_step_runs_unadvanced":
        scan = plan[plan.index(index) :]
        assert "Index Cond" in scan, "it looks up the time, and does not read all of the index"
