"""Integration tests of large values: stores that are away, and lists of which items are parts."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection, update

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowStepRun
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.transaction import SqlTransaction
from flowq.adapters.results.memory import MemoryObjects
from flowq.core.errors import StoreUnavailable
from flowq.core.states import RunState, StepState
from flowq.engine.results.store import ResultStore
from tests.tools.playing import Stage

LARGE = 2000


class CountingObjects(MemoryObjects):
    """Counts reads, and fails a given number of writes."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.reads = 0
        self.failures = failures

    def put(self, key: str, data: object) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the store is away")
        super().put(key, data)  # type: ignore[arg-type]

    def get(self, key: str) -> bytes:
        self.reads += 1
        return super().get(key)


def stage_with(
    records: SqlRecords, objects: MemoryObjects, wait: Callable[[timedelta], None] | None = None
) -> Stage:
    stage = Stage.on(records, wait=wait)
    engine = replace(stage.engine, results=ResultStore(None, lambda: objects, LARGE))
    return Stage(engine, stage.dispatcher, records)


@step
def long_texts(count: int) -> list[str]:
    return [str(index) * 10_000 for index in range(count)]


@step
def length(text: str) -> int:
    return len(text)


@flow
def lengths(count: int) -> list[int]:
    return length.map(long_texts(count))


@flow
def one_long_text() -> list[str]:
    return long_texts(1)


def test_items_of_a_large_list_load_it_once_in_a_process(records: SqlRecords) -> None:
    """A map over one large value must not cost the square of its length."""
    objects = CountingObjects()
    played = stage_with(records, objects).play(lengths, count=9)

    assert [10_000] * 9 == played.result()
    # Once to expand the map and once for its items, however many there are.
    assert objects.reads <= 2


def test_store_that_is_away_for_a_while_is_no_failure_of_the_step(records: SqlRecords) -> None:
    """The step has no retries; the attempt is put off and counts as a recovery."""
    delays: list[timedelta] = []

    def wait(delay: timedelta) -> None:
        # The row's own clock is the database's, so the test waits in it too.
        delays.append(delay)
        records.transaction(_make_due)

    played = stage_with(records, CountingObjects(failures=2), wait).play(one_long_text)

    assert RunState.COMPLETED is played.status
    assert [15, 60] == [round(delay.total_seconds()) for delay in delays]
    assert 3 == played.step("long_texts").attempts
    assert 2 == played.step("long_texts").recoveries


def test_store_that_stays_away_fails_the_step_in_the_end(records: SqlRecords) -> None:
    """The cap is that of recoveries, and the error says what was away."""
    stage = stage_with(
        records, CountingObjects(failures=100), lambda _delay: records.transaction(_make_due)
    )
    played = stage.play(one_long_text)

    assert RunState.FAILED is played.status
    assert "the store is away" in played.error
    assert stage.engine.policies.max_recoveries == played.step("long_texts").recoveries


def _make_due(tx: SqlTransaction) -> None:
    rows = FlowStepRun.__table__
    query = update(FlowStepRun).where(rows.c.status == StepState.RETRYING)
    assert isinstance(tx.within, Connection)
    tx.within.execute(query.values(wake_at=DbNow(-10)))


def test_row_of_a_run_says_where_a_large_output_is(records: SqlRecords) -> None:
    """Whoever reads the tables finds the object; the value itself is in none of them."""
    objects = CountingObjects()
    played = stage_with(records, objects).play(one_long_text)

    (key,) = objects.keys()
    assert key == played.view.outputs["$object"]
    assert played.view.outputs["size"] > 10_000
