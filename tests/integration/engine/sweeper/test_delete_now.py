"""A run is deleted on request, with all that belongs to it, unless others need it."""

from uuid import uuid4

import pytest

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import InvalidInput, RunNotFound
from flowq.core.ids import RunId
from flowq.core.results import OBJECTS
from flowq.engine.runs import reruns
from flowq.engine.sweeper.retention import delete_now
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Stage


@step(name="tests.delete.fill")
def fill(count: int) -> bytes:
    return b"x" * count


@step(name="tests.delete.length")
def length(data: bytes) -> int:
    return len(data)


@flow(name="tests.delete.inner")
def inner(count: int) -> int:
    return length(fill(count))


@step(name="tests.delete.plus")
def plus(one: int, other: int) -> int:
    return one + other


@flow(name="tests.delete.outer")
def outer(count: int) -> int:
    return plus(inner(count), inner(count + 1))


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records, threshold=2000)


def left(stage: Stage) -> set[RunId]:
    views = stage.engine.records.autocommit(lambda tx: tx.runs.views())
    return {view.id for view in views}


def objects(stage: Stage) -> list[str]:
    return [one.key for page in stage.engine.results.objects.list(OBJECTS) for one in page]


def test_run_goes_with_its_child_runs_and_objects_and_no_other(stage: Stage) -> None:
    kept, gone = stage.play(outer, count=5000), stage.play(outer, count=5000)
    before, whole = left(stage), objects(stage)
    assert (6, 4) == (len(before), len(whole))

    assert 3 == delete_now(stage.engine, gone.id)

    assert gone.id not in left(stage)
    assert (3, 2) == (len(left(stage)), len(objects(stage)))
    assert 10_001 == kept.result()
    assert_invariants(stage.engine.records)


def test_open_run_is_refused(stage: Stage) -> None:
    waiting = stage.submit(outer, {"count": 1})
    with pytest.raises(InvalidInput, match="it is running"):
        delete_now(stage.engine, waiting.id)
    assert waiting.id in left(stage)


def test_child_run_is_refused(stage: Stage) -> None:
    parent = stage.play(outer, count=1)
    children = left(stage) - {parent.id}
    for child in children:
        with pytest.raises(InvalidInput, match="is a child run"):
            delete_now(stage.engine, child)
    assert left(stage) == {parent.id, *children}


def test_run_with_a_rerun_is_deleted_after_that(stage: Stage) -> None:
    first = stage.play(inner, count=1)
    again = reruns.rerun(stage.engine, first.id)
    stage.dispatcher.run(stage.engine)
    with pytest.raises(InvalidInput, match="a rerun exists"):
        delete_now(stage.engine, first.id)

    assert [1, 1] == [delete_now(stage.engine, one) for one in (again, first.id)]

    assert set() == left(stage)


def test_unknown_run_is_refused(stage: Stage) -> None:
    with pytest.raises(RunNotFound):
        delete_now(stage.engine, RunId(uuid4()))
