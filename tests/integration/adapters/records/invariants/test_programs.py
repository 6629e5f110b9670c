"""Whatever breaks an invariant of programs is found, by it alone; each break is rolled back."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from sqlalchemy import Update, delete, update

import flowq
from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.repository import SIGNALS, STEPS
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.transaction import SqlTransaction
from flowq.core.ids import StepRunId, node_id
from flowq.core.states import StepState
from flowq.engine.model.rows import Violation
from flowq.engine.ports import Records
from flowq.engine.runs.signals import send_signal
from flowq.engine.sweeper.invariants import check
from tests.tools.playing import Played, Stage


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

    def autocommit(self, work: Any, **_options: Any) -> Any:
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
        records.transaction(work)
    return found


def begun(stage: Stage) -> Played:
    """A program that waits for its second call."""
    run = stage.submit(calling, {"x": 1})
    stage.dispatcher.run(stage.engine, limit=2)
    stage.dispatcher.clear()
    stage.engine.program_cache.clear()
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


# --- signals -------------------------------------------------------------------------------------


@flow
async def heard() -> list[Any]:
    first = await flowq.signal("say")
    try:
        await flowq.signal("never", timeout=0.01)
    except TimeoutError:
        return [first, await flowq.signal("say"), await flowq.signal("say")]
    return []


def listening(stage: Stage) -> Played:
    """A program that has received two signals, missed one, and waits for the fourth."""
    run = stage.play(heard)
    for word in ("one", "two"):
        send_signal(stage.engine, run.id, "say", word)
        stage.dispatcher.run(stage.engine)
    assert run.states() == {
        "heard": StepState.WAITING,
        "say#1": StepState.COMPLETED,
        "never#2": StepState.FAILED,
        "say#3": StepState.COMPLETED,
        "say#4": StepState.WAITING,
    }
    return run


def of_wait(run: Played, key: str) -> Any:
    return SIGNALS.c.consumed_by == at(run, key)


@pytest.mark.parametrize(
    "change,what",
    [
        (
            lambda run: (
                update(SIGNALS).where(of_wait(run, "say#1")).values(consumed_by=at(run, "say#4"))
            ),
            "is no completed wait for it",
        ),
        (
            lambda run: (
                update(SIGNALS).where(of_wait(run, "say#1")).values(consumed_by=at(run, "say#3"))
            ),
            "has received another",
        ),
        (
            lambda run: update(SIGNALS).where(of_wait(run, "say#1")).values(name="other"),
            "signal other was received",
        ),
        (
            lambda run: update(SIGNALS).where(of_wait(run, "say#1")).values(consumed_by=uuid4()),
            "is no completed wait for it",
        ),
        (
            lambda run: update(SIGNALS).where(of_wait(run, "say#1")).values(consumed_at=None),
            "at none",
        ),
        (
            lambda run: delete(SIGNALS).where(of_wait(run, "say#3")),
            "has completed, and has received no signal",
        ),
        (
            lambda run: (
                update(SIGNALS)
                .where(of_wait(run, "say#3"))
                .values(consumed_by=None, consumed_at=None, created_at=DbNow(-1))
            ),
            "it waits for a signal that is there",
        ),
        (
            lambda run: set_row(at(run, "never#2"), error_type="ValueError"),
            "failed with ValueError",
        ),
        (
            lambda run: (
                update(SIGNALS)
                .where(of_wait(run, "say#3"))
                .values(consumed_by=at(run, "never#2"), name="never")
            ),
            "no timeout without a signal",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_signal_that_does_not_fit_its_wait_is_found(
    stage: Stage, change: Callable[[Played], Any], what: str
) -> None:
    run = listening(stage)
    assert check(stage.records, grace=timedelta(0)) == []

    found = [one for one in broken(stage.records, change(run)) if one.run_id == run.id]

    # The record of who sent it does not fit either.
    assert {one.invariant for one in found} - {"actions"} == {"signals"}
    assert any(what in one.what for one in found), found
