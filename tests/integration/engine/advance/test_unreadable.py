"""A run whose rows cannot be read costs that run and no other, on both databases.

Each JSON column of each table of one run is spoilt behind flowq's back, in each way in which that
can be. Then another run has to end, whatever the sweeper does in between.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import JSON, text

import flowq
from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import Base
from flowq.core.errors import FlowqError, RunUnreadable, SignalRefused
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.engine.engine import Policies
from flowq.engine.events import rebuild
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.signals import send_signal
from flowq.engine.sweeper.invariants import check
from tests.tools.playing import Played, Stage
from tests.tools.waiting import wait_until

DEEP: Final = 5_000
#: Passes of the sweeper that send nothing, after which a paused run counts as left alone.
QUIET: Final = 3
#: What may come to stand in a column. SQLite keeps even what is no JSON.
POISONS: Final[dict[str, str]] = {
    "null": "null",
    "a number": "7",
    "a text": '"half a spec"',
    "a list": "[1, 2]",
    "nothing": "{}",
    "unknown keys": '{"newer": {"than": "this"}}',
    "deep": "[" * DEEP + "]" * DEEP,
    "a number of many digits": "9" * 5_000,
    "no JSON": '{"cut off": [1, 2',
}
#: What belongs to no run: only who asks for it reads it.
NO_RUNS: Final = {"flow_definitions", "flow_documents", "flow_requests", "flow_schedules"}
#: What the flows below write no rows of: they call no model, and log nothing.
UNWRITTEN: Final = {"flow_logs", "llm_requests"}
COLUMNS: Final = [
    (table.name, column.name)
    for table in Base.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, JSON) and table.name not in NO_RUNS | UNWRITTEN
]


@step
def one(number: int) -> Any:
    return number + 1


@step(cache=timedelta(hours=1))
def cached(number: int) -> int:
    return number + 1


@flow
def chain(number: int) -> Any:
    return one(cached(one(number)))


@flow
def mapped(number: int) -> Any:
    return one.map(one.map([number, number + 1, number + 2]))


@flow
def nested(number: int) -> Any:
    return one(chain(number))


@flow
async def program(number: int) -> Any:
    number = await one(number)
    await flowq.sleep(0.01)
    said = await flowq.signal("more", int)
    return await one(number + said)


FLOWS: Final[dict[str, Any]] = {
    "chain": chain,
    "mapped": mapped,
    "nested": nested,
    "program": program,
}


#: Which flow is spoilt after how many messages: a column meets each of them with some poison.
PLAYS: Final = [(name, deliveries) for deliveries in (0, 2) for name in FLOWS]


@pytest.fixture
def database(database_url: str) -> Iterator[SqlRecords]:
    """Rows that do not fit together are the point, so nothing looks after the invariants."""
    database = SqlRecords(database_url)
    others = _heartbeats()
    yield database
    # A heartbeat that asks at this moment would lose its connection; it ends with the last lease.
    try:
        wait_until(lambda: _heartbeats() <= others, what="no step runs any more")
    finally:
        database.close()


def _heartbeats() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name == "flowq-leases"}


def another_process(database: SqlRecords) -> Stage:
    """An engine that remembers nothing, whose sweeper takes everything for late."""
    soon = timedelta(seconds=-1)
    policies = Policies(lease=timedelta(seconds=0.01), resend_after=soon, max_resend_after=soon)
    return Stage.on(database, policies=policies)


def begin(stage: Stage, name: str, deliveries: int) -> Played:
    """A run of which some has happened; the messages of the rest are lost."""
    played = stage.submit(FLOWS[name], {"number": 1})
    if name == "program":
        send_signal(stage.engine, played.id, "more", 1)
    for _ in range(deliveries):
        delivery = stage.dispatcher._next() if stage.dispatcher._ready else None
        if delivery is not None:
            stage.dispatcher.deliver(stage.engine, delivery)
    stage.dispatcher.clear()
    return played


def spoil(database: SqlRecords, table: str, column: str, value: str, played: Played) -> int:
    """Write something into a column of all rows of a run; returns how many there are."""
    kind = database.engine.dialect.name
    of_run = {"flow_runs": "id", "flow_cached_results": None}.get(table, "flow_run_id")
    run_id = played.id.hex if kind == "sqlite" else str(played.id)
    where = f"{of_run} = :run" if of_run else "1 = 1"
    cast = "" if kind == "sqlite" else "::json"
    query = f"UPDATE {table} SET {column} = (:value){cast} WHERE {where}"
    if column == "spec" and table == "flow_step_runs":
        query += " AND spec IS NOT NULL"
    given = {"value": value, **({"run": run_id} if of_run else {})}
    with database.engine.connect() as connection:
        return connection.execute(text(query), given).rowcount


def poisons(database: SqlRecords) -> list[tuple[str, str]]:
    """PostgreSQL refuses what is no JSON by itself."""
    keeps_all = database.engine.dialect.name == "sqlite"
    return [(how, value) for how, value in POISONS.items() if keeps_all or how != "no JSON"]


def let_time_pass(database: SqlRecords, *runs: Played) -> Stage:
    """Sweep and deliver until the runs have ended, or are paused and nothing moves any more."""
    stage = another_process(database)
    quiet = 0
    for _ in range(25):
        states = {status_of(database, run) for run in runs}
        if states <= TERMINAL_RUN_STATES or quiet == QUIET:
            break
        stage.sweep()
        is_paused = states <= TERMINAL_RUN_STATES | {RunState.PAUSED}
        quiet = quiet + 1 if is_paused and not stage.dispatcher._ready else 0
        while stage.dispatcher._ready:
            delivery = stage.dispatcher._next()
            assert delivery is not None
            stage.dispatcher.deliver(stage.engine, delivery)
    return stage


def status_of(database: SqlRecords, run: Played) -> RunState:
    status = database.autocommit(lambda tx: tx.runs.status(run.id))
    assert status is not None
    return status


@pytest.mark.parametrize("place", COLUMNS, ids=".".join)
def test_unreadable_run_costs_no_other(database: SqlRecords, place: tuple[str, str]) -> None:
    """Each value meets each column, on one of the databases and with one of the flows that have it.

    The databases take turns, and so do the flows.
    """
    plays = deque(PLAYS)
    turn = COLUMNS.index(place) + (database.url.get_backend_name() == "sqlite")
    plays.rotate(turn)
    for number, (how, value) in enumerate(poisons(database)):
        if (number + turn) % 2 and how != "no JSON":  # which SQLite alone keeps
            continue
        plays.rotate(1)
        for name, deliveries in plays:
            stage = another_process(database)
            spoilt = begin(stage, name, deliveries)
            other = begin(stage, name, deliveries)
            if spoil(database, *place, value, spoilt):
                break  # the next poison meets the next flow
        else:
            pytest.fail("no flow has such a row")

        after = let_time_pass(database, other)

        assert other.status is RunState.COMPLETED, (how, other.error)
        assert_set_aside(after, spoilt, how)


def assert_set_aside(stage: Stage, spoilt: Played, how: str) -> None:
    """It has ended, or can be cancelled; and whoever looks at it gets an answer."""
    engine = stage.engine
    let_time_pass(stage.records, spoilt)
    view = stage.records.autocommit(lambda tx: tx.runs.view(spoilt.id))
    assert view is not None
    if view.status in (RunState.FAILED, RunState.PAUSED):
        assert view.error, how
    looks: list[Callable[[], object]] = [
        lambda: stage.records.autocommit(lambda tx: tx.runs.views(limit=50)),
        lambda: stage.records.autocommit(lambda tx: tx.overview.run_page(spoilt.id)),
        lambda: stage.records.autocommit(lambda tx: tx.overview.picture(spoilt.id, now=_now())),
        lambda: stage.records.autocommit(
            lambda tx: tx.overview.history(view.flow_name, since=_now() - timedelta(days=1))
        ),
        lambda: stage.records.autocommit(lambda tx: tx.overview.latest_specs([view.flow_name])),
        lambda: engine.definitions.shown(spoilt.id),
        lambda: check(stage.records, grace=timedelta(hours=1)),
        lambda: rebuild.history(
            view, stage.records.autocommit(lambda tx: rebuild.recorded(tx, spoilt.id))
        ),
        lambda: json.dumps([view.inputs, view.outputs], default=str),
    ]
    for look in looks:
        look()
    with suppress(RunUnreadable):
        engine.definitions.get(spoilt.id)
    cancel(engine, spoilt.id)
    let_time_pass(stage.records, spoilt)
    assert spoilt.status in TERMINAL_RUN_STATES, how


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize("name", FLOWS)
def test_spec_of_a_newer_flowq_is_set_aside_until_it_can_be_read(
    database: SqlRecords, name: str
) -> None:
    stage = another_process(database)
    spoilt = begin(stage, name, 0)
    before = stage.records.autocommit(lambda tx: tx.runs.definition(spoilt.id))
    assert before is not None
    spec = before.spec.model_dump(mode="json")
    spec["steps"][0]["kind"] = "quantum"
    assert spoil(database, "flow_runs", "spec", json.dumps(spec), spoilt)

    let_time_pass(database, spoilt)

    assert spoilt.status is RunState.PAUSED
    assert "newer flowq" in spoilt.error
    assert "quantum" not in spoilt.error or "kind" in spoilt.error
    assert [one.invariant for one in check(database, grace=timedelta(hours=1))] == ["readable"]


def test_unknown_keys_of_a_newer_flowq_are_ignored(database: SqlRecords) -> None:
    stage = another_process(database)
    played = begin(stage, "chain", 0)
    before = stage.records.autocommit(lambda tx: tx.runs.definition(played.id))
    assert before is not None
    spec = before.spec.model_dump(mode="json") | {"priority": 3}
    for one_step in spec["steps"]:
        one_step |= {"gpu": True}
        one_step["retry"] |= {"budget": 2}
    spoil(database, "flow_runs", "spec", json.dumps(spec), played)

    let_time_pass(database, played)

    assert played.result() == 4


def test_parent_of_an_unreadable_run_fails_with_its_reason(database: SqlRecords) -> None:
    stage = another_process(database)
    parent = begin(stage, "nested", 1)
    with database.engine.connect() as connection:
        query = "UPDATE flow_runs SET spec = '{}' WHERE parent_step_run_id IS NOT NULL"
        assert connection.execute(text(query)).rowcount == 1

    let_time_pass(database, parent)

    assert parent.status is RunState.FAILED
    assert "cannot be read" in parent.error


def test_program_ends_that_waits_for_what_cannot_be_read(database: SqlRecords) -> None:
    """It has no timeout, and the signal that it waited for would never be given to it."""
    for how, value in [*poisons(database), ("a kind of its own", '{"kind": "quantum"}')]:
        stage = another_process(database)
        spoilt, other = (stage.submit(program, {"number": 1}) for _ in range(2))
        for _ in range(4):  # a step, and a sleep
            stage.dispatcher.run(stage.engine)
            stage.sweep()
        waits = [one.id for one in (spoilt, other) if StepState.WAITING in one.states().values()]
        assert waits == [spoilt.id, other.id]
        assert spoil(database, "flow_step_runs", "spec", value, spoilt)
        named = [one.run_id for one in check(database, grace=timedelta(0)) if "read" in one.what]

        let_time_pass(database, spoilt)

        assert spoilt.id in named, how
        assert spoilt.status is RunState.FAILED, how
        assert "what it waits for cannot be read" in spoilt.error, how
        assert other.status is RunState.RUNNING, how
        with pytest.raises(SignalRefused):
            send_signal(stage.engine, spoilt.id, "more", 1)
        send_signal(stage.engine, other.id, "more", 1)
        let_time_pass(database, other)
        assert other.result() == 4, how


def test_signal_is_taken_whatever_a_wait_says_of_it(database: SqlRecords) -> None:
    for how, value in [*poisons(database), ("no schema", '{"schema": {"$literal": {"type": 7}}}')]:
        stage = another_process(database)
        spoilt = stage.submit(program, {"number": 1})
        for _ in range(4):
            stage.dispatcher.run(stage.engine)
            stage.sweep()
        assert spoil(database, "flow_step_runs", "inputs", value, spoilt)

        send_signal(stage.engine, spoilt.id, "more", 1)

        let_time_pass(database, spoilt)
        # Other inputs than those of the call are what a changed program looks like: it is paused.
        assert spoilt.status in TERMINAL_RUN_STATES | {RunState.PAUSED}, how
        assert spoilt.error or spoilt.status is RunState.COMPLETED, how


def test_reading_an_unreadable_run_says_why(database: SqlRecords) -> None:
    stage = another_process(database)
    spoilt = begin(stage, "chain", 0)
    spoil(database, "flow_runs", "spec", '{"name": "chain", "steps": [{"key": 3}]}', spoilt)

    with pytest.raises(FlowqError, match="cannot be read") as error:
        another_process(database).engine.definitions.get(spoilt.id)

    assert "steps.0.key" in str(error.value)
