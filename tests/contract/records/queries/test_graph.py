"""What pictures of runs are drawn from, read from real runs on both databases."""

# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import event, text

import flowq
from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowStepRun
from flowq.core.ids import RunId, item_id, node_id
from flowq.core.spec import StepKind
from flowq.core.states import AttemptEnd, RunState, StepState
from flowq.engine.model.rows import Outcome
from flowq.engine.queries.graph import EdgeKind, PictureNode, RunPicture
from flowq.entrypoints.flower.pictures.gantt import run_gantt
from flowq.entrypoints.flower.pictures.graph import run_graph
from tests.contract.records.test_records import claimed, insert, new_run
from tests.tools.playing import Played, Stage

COMPLETED, FAILED, SKIPPED = StepState.COMPLETED, StepState.FAILED, StepState.SKIPPED
TRIES: Counter[str] = Counter()


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    TRIES.clear()
    records = SqlRecords(database_url)
    yield records
    records.close()


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records)


def picture_of(
    records: SqlRecords, run_id: RunId, now: datetime | None = None, **limits: int
) -> RunPicture:
    now = now or datetime.now(UTC)
    found = records.autocommit(lambda tx: tx.overview.picture(run_id, now=now, **limits))
    assert found is not None
    for draw in (run_graph, run_gantt):
        assert draw(found, now=now).startswith("<svg")
    return found


def of(played: Played, **limits: int) -> RunPicture:
    return picture_of(played.stage.records, played.id, **limits)


def nodes_of(picture: RunPicture) -> dict[str, PictureNode]:
    return {node.key: node for node in picture.nodes}


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step(retries=2, retry_delay=0)
def double(x: int) -> int:
    TRIES[f"double {x}"] += 1
    if x == 1 and TRIES["double 1"] < 3:
        raise ValueError("not yet")
    return 2 * x


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@step
def alarm(x: int) -> int:
    return x


@flow
def inner(x: int) -> int:
    return double(x)


@flow
def graph_flow(n: int) -> int:
    found = numbers(n)
    doubled = double.map(found)
    whole = total(doubled)
    alarm.options(when=whole > 10_000)(whole)
    once = double(1)
    child = inner(once)
    return total([whole, child])


@flow
async def program_flow(n: int) -> int:
    one = await double(7)
    parts = await asyncio.gather(*(double(10 + i) for i in range(3)))
    many = await double.map(list(range(20, 25)))
    await flowq.sleep(timedelta(milliseconds=1))
    for i in range(n):
        one += await alarm(i)
    return one + sum(parts) + sum(many)


def test_graph_has_one_node_for_each_step(stage: Stage) -> None:
    played = stage.play(graph_flow, n=40)
    assert played.status is RunState.COMPLETED

    picture = of(played)

    nodes = nodes_of(picture)
    assert (picture.status, picture.total, picture.is_collapsed) == (RunState.COMPLETED, 7, False)
    assert picture.program is None
    mapped = next(node for node in picture.nodes if node.is_map)
    assert (mapped.name.rpartition(".")[2], mapped.size) == ("double", 40)
    assert mapped.counts == {COMPLETED: 40}
    assert sum(mapped.ended_in.values()) == 40
    assert all(0 <= part < picture.parts for part in mapped.ended_in)
    assert sum(node.retried for node in picture.nodes) == 2, "whoever doubled 1 first"
    skipped = next(node for node in picture.nodes if node.status is SKIPPED)
    (condition,) = [edge for edge in picture.edges if edge.kind is EdgeKind.CONDITION]
    assert (condition.after, condition.condition) == (skipped.key, "total > 10000")
    assert all({edge.before, edge.after} <= set(nodes) for edge in picture.edges)
    child = next(node for node in picture.nodes if node.kind is StepKind.FLOW)
    assert child.child is not None
    assert child.child.status is RunState.COMPLETED
    own = picture_of(stage.records, child.child.id)
    assert own.flow_name.endswith("inner")
    for node in picture.nodes:
        if node.status is COMPLETED:
            assert node.started_at is not None
            assert node.ended_at is not None
            assert node.created_at <= node.started_at <= node.ended_at  # type: ignore[operator]


def test_attempts_of_a_single_step_are_reported_one_by_one(records: SqlRecords) -> None:
    run_id = insert(records, new_run("a", queued=True))
    claim = claimed(records, run_id)
    outcome = Outcome(error_type="ValueError", error_message="no " + "x" * 1000)
    assert records.transaction(lambda tx: tx.steps.retry(claim, outcome, timedelta(0)))

    picture = picture_of(records, run_id)

    (one,) = picture.nodes[0].past
    assert (one.number, one.outcome, one.error_type) == (1, AttemptEnd.FAILED, "ValueError")
    assert one.error is not None
    assert len(one.error) <= 500
    assert one.started_at <= one.ended_at
    assert picture.nodes[0].status is StepState.RETRYING


def test_program_has_its_calls_in_order_with_their_batches(stage: Stage) -> None:
    played = stage.play(program_flow, n=3)
    while played.status is not RunState.COMPLETED:
        stage.sweep()
        stage.dispatcher.run(stage.engine)

    picture = of(played)

    assert picture.program is not None
    assert picture.program.kind is StepKind.PROGRAM
    assert picture.edges == ()
    names = [node.name.rpartition(".")[2] for node in picture.nodes]
    assert names[:5] == ["double", "double", "double", "double", "double"]
    assert names[-3:] == ["alarm"] * 3
    batches = [node.batch for node in picture.nodes]
    assert len(set(batches[1:4])) == 1
    assert len({batches[0], batches[1], batches[4]}) == 3
    assert picture.nodes[4].is_map
    assert picture.nodes[4].counts == {COMPLETED: 5}
    assert [node.kind for node in picture.nodes].count(StepKind.TIMER) == 1
    assert [node.order for node in picture.nodes] == sorted(node.order for node in picture.nodes)


def test_calls_beyond_the_limit_are_counted_by_name(stage: Stage) -> None:
    played = stage.play(program_flow, n=30)
    while played.status is not RunState.COMPLETED:
        stage.sweep()
        stage.dispatcher.run(stage.engine)
    whole = of(played)

    picture = of(played, max_calls=10)

    assert (picture.is_collapsed, picture.total) == (True, len(whole.nodes))
    assert picture.program == whole.program
    nodes = {node.name.rpartition(".")[2]: node for node in picture.nodes}
    assert nodes["alarm"].counts == {COMPLETED: 30}
    assert nodes["double"].counts == {COMPLETED: 5}, "calls, not their items"
    assert (nodes["alarm"].size, nodes["alarm"].status) == (30, COMPLETED)
    ends = [node.ended_at for node in whole.nodes if node.name == nodes["alarm"].name]
    assert nodes["alarm"].ended_at == max(end for end in ends if end is not None)
    assert sum(nodes["alarm"].ended_in.values()) == 30
    assert sum(node.size or 0 for node in picture.nodes) == picture.total


def test_steps_of_a_graph_beyond_the_limit_are_counted_by_name(stage: Stage) -> None:
    played = stage.play(graph_flow, n=3)

    picture = of(played, max_steps=5)

    assert picture.is_collapsed
    counts = {node.name.rpartition(".")[2]: node.size for node in picture.nodes}
    assert counts == {"numbers": 1, "double": 2, "total": 2, "alarm": 1, "inner": 1}
    orders = {node.key: node.order for node in picture.nodes}
    assert picture.edges
    assert all(orders[edge.before] < orders[edge.after] for edge in picture.edges)


def test_running_run_is_read_as_it_is(stage: Stage) -> None:
    played = stage.submit(graph_flow, {"n": 3})

    picture = of(played)

    assert picture.ended_at is None
    states = Counter(node.status for node in picture.nodes)
    assert states[StepState.PENDING] + states[StepState.QUEUED] == 7
    mapped = next(node for node in picture.nodes if node.is_map)
    assert (mapped.size, mapped.counts, mapped.ended_at) == (None, {}, None)


def test_run_that_does_not_exist_has_no_picture(records: SqlRecords) -> None:
    now = datetime.now(UTC)
    assert records.autocommit(lambda tx: tx.overview.picture(RunId(uuid4()), now=now)) is None


def test_large_map_is_few_rows(records: SqlRecords) -> None:
    many = 3000
    run_id = insert(records, new_run("a", queued=True))
    began = datetime.now(UTC) - timedelta(minutes=5)
    with records.engine.begin() as connection:
        connection.execute(
            text("UPDATE flow_step_runs SET map_size = :n, status = 'running'"), {"n": many}
        )
        row = connection.execute(text("SELECT step_name, step_order FROM flow_step_runs")).one()
        connection.execute(
            FlowStepRun.__table__.insert(),  # type: ignore[attr-defined]
            [
                {
                    "id": item_id(node_id(run_id, "a"), index),
                    "flow_run_id": run_id,
                    "step_key": "a",
                    "step_name": row[0],
                    "step_order": row[1],
                    "map_index": index,
                    "status": "failed" if index % 100 == 0 else "completed",
                    "created_at": began,
                    "started_at": began + timedelta(seconds=index / 10),
                    "completed_at": began + timedelta(seconds=index / 10 + 1),
                    "attempt": 1 + index % 3,
                }
                for index in range(many)
            ],
        )
        connection.execute(
            text("UPDATE flow_runs SET started_at = :t"),
            {"t": began.strftime("%Y-%m-%d %H:%M:%S.%f") + ("" if sqlite(records) else "+00")},
        )
    rows: list[int] = []
    event.listen(
        records.engine,
        "after_cursor_execute",
        lambda *given: rows.append(given[1].rowcount),
    )

    picture = picture_of(records, run_id, now=began + timedelta(seconds=301))

    (mapped,) = picture.nodes
    assert mapped.counts == {COMPLETED: many - 30, FAILED: 30}
    assert mapped.attempts == 3
    assert sum(mapped.ended_in.values()) == many
    assert sum(mapped.failed_in.values()) == 30
    assert min(mapped.ended_in) <= 1
    assert max(mapped.ended_in) == picture.parts - 1
    if not sqlite(records):  # SQLite does not say how many rows it has found
        assert sum(rows) < 2 * picture.parts + 20
    drawn = run_gantt(picture, now=datetime.now(UTC))
    assert len(drawn) < 30_000


def sqlite(records: SqlRecords) -> bool:
    return records.engine.dialect.name == "sqlite"


@step
def tried(x: int) -> int:
    if x < 0:
        raise ValueError("less than 0")
    return x


@flow
async def labelled() -> int:
    calls = tried.options(key="first")
    with contextlib.suppress(flowq.errors.StepFailed):
        await calls(-1)
    await calls(1)
    await tried.options(key="each").map([1, 2, 3])
    return await tried.options(key="firstly")(2)


def test_calls_of_a_program_are_counted_by_their_labels(stage: Stage) -> None:
    found = of(stage.play(labelled), by_label=True)

    nodes = nodes_of(found)
    assert list(nodes) == ["first", "each", "firstly"]
    assert nodes["first"].counts == {COMPLETED: 1, FAILED: 1}
    assert (nodes["first"].size, nodes["first"].status) == (2, COMPLETED)
    assert (nodes["each"].size, nodes["each"].is_map) == (3, True)
    assert nodes["each"].counts == {COMPLETED: 3}
    assert (nodes["firstly"].size, nodes["firstly"].is_map) == (None, False)
    assert found.program is not None
    assert found.edges == ()
