"""Whatever breaks an invariant of programs is found, by it alone; each break is rolled back."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import Update, update

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.repository import STEPS
from flowq.adapters.records.transaction import SqlTransaction
from flowq.adapters.records.types import DbNow
from flowq.core.ids import StepRunId, node_id
from flowq.engine.invariants import check
from flowq.engine.ports import Records
from flowq.engine.rows import Violation
from tests.integration.playing import Played, Stage


@step
def one(x: int) -> int:
    return x


@flow
async def calling(x: int) -> int:
    first = await one(x)
    second = await one(first)
    return await one(second)


class _Within:
    """The records, as a transaction sees them that is rolled back."""

    def __init__(self, tx: SqlTransaction) -> None:
        self._tx = tx

    def single(self, work: Any, **_options: Any) -> Any:
        return work(self._tx)


class _Undo(Exception):
    """Rolls back."""


def broken(records: SqlRecords, change: Update) -> list[Violation]:
    found: list[Violation] = []

    def work(tx: SqlTransaction) -> None:
        cast(Any, tx.within).execute(change)
        found.extend(check(cast(Records, _Within(tx)), grace=timedelta(0)))
        raise _Undo

    with pytest.raises(_Undo):
        records.write(work)
    return found


def begun(stage: Stage) -> Played:
    """A program that waits for its second call."""
    run = stage.submit(calling, {"x": 1})
    stage.dispatcher.run(stage.engine, limit=3)
    stage.dispatcher.clear()
    stage.engine.live.clear()
    return run


def at(run: Played, key: str) -> StepRunId:
    return node_id(run.id, key)


def set_row(row: StepRunId, **values: Any) -> Update:
    return update(STEPS).where(STEPS.c.id == row).values(**values)


def names(found: list[Violation], run: Played) -> set[str]:
    return {one.invariant for one in found if one.run_id == run.id}


def test_program_that_sleeps_through_an_end_is_found(stage: Stage) -> None:
    run = begun(stage)
    ended = set_row(
        at(run, "one#2"),
        status="completed",
        completed_at=DbNow(-1),
        wake_at=None,
        advanced=True,
        result={"place": "nowhere"},
    )

    assert names(broken(stage.records, ended), run) == {"program waits"}


def test_program_that_has_seen_all_of_its_calls_end_is_found(stage: Stage) -> None:
    run = begun(stage)
    ended = set_row(
        at(run, "one#2"),
        status="completed",
        completed_at=DbNow(-1),
        wake_at=None,
        advanced=True,
        observed=1_000,
        result={"place": "nowhere"},
    )

    assert "program waits" in names(broken(stage.records, ended), run)


@pytest.mark.parametrize("place", [1, 9])
def test_place_that_no_program_has_given_is_found(stage: Stage, place: int) -> None:
    run = begun(stage)

    found = broken(stage.records, set_row(at(run, "one#2"), observed=place))

    assert "calls" in names(found, run)
