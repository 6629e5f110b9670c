"""Reruns on the real engine, in the test's own thread: what is reused, and what runs."""

# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.runs.reruns import SqlReruns
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.results.memory import MemoryObjects
from flowq.core.errors import InvalidInput, RunNotFound
from flowq.core.ids import RunId, child_run_id, item_id, node_id
from flowq.core.rerun import Why
from flowq.core.states import RunState, StepState
from flowq.core.usage import Usage
from flowq.engine.engine import Policies
from flowq.engine.model.actions import Face
from flowq.engine.model.reruns import PlannedItems
from flowq.engine.runs import reruns, submission
from flowq.engine.runs.actors import acting
from flowq.engine.runs.cancel import cancel
from flowq.engine.sweeper.retention import collect
from flowq.entrypoints.event_text import of_action
from tests.tools.playing import Played, Stage

COMPLETED, FAILED = StepState.COMPLETED, StepState.FAILED
#: What has run, and what must fail: both are read and written by the steps below.
RAN: Counter[str] = Counter()
BROKEN: set[str] = set()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()
    BROKEN.clear()


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records, threshold=2000)


def ran(label: str) -> None:
    RAN[label] += 1
    if label in BROKEN:
        raise ValueError(f"{label} is broken")


@step
def numbers(count: int) -> list[int]:
    ran("numbers")
    return list(range(count))


@step
def double(x: int) -> int:
    ran(f"double {x}")
    return 2 * x


@step
def total(values: list[int], factor: int = 1) -> int:
    ran("total")
    return factor * sum(values)


@step
def big(size: int) -> bytes:
    ran("big")
    return b"x" * size


@step
def size_of(data: bytes) -> int:
    ran("size_of")
    return len(data)


@flow
def sums(count: int, factor: int = 1) -> int:
    values = numbers(count)
    return total(double.map(values), factor=factor)


@flow
def blobs(size: int) -> int:
    return size_of(big(size))


def rerun(played: Played, **options: Any) -> Played:
    """Rerun a run and do all that it leads to."""
    stage = played.stage
    again = Played(stage, reruns.rerun(stage.engine, played.id, **options), played.flow)
    stage.dispatcher.run(stage.engine)
    return again


def test_failed_item_runs_again_and_all_else_is_reused(stage: Stage) -> None:
    BROKEN.add("double 3")
    old = stage.play(sums, count=5)
    assert old.status is RunState.FAILED
    BROKEN.clear()
    RAN.clear()
    items = {one.key: one.items for one in reruns.preview(stage.engine, old.id).steps}

    again = rerun(old)

    assert again.result() == 20
    assert items["double"] is not None
    assert {f"double {index}" for index in items["double"].runs} == {*RAN} - {"total"}
    assert len(items["double"].reused) == again.step("double").hits
    done = old.step("double").counts.get(COMPLETED, 0)
    assert RAN.pop("total") == 1
    assert RAN.pop("double 3") == 1
    assert "numbers" not in RAN
    assert sum(RAN.values()) == 4 - done
    view = again.view
    assert (view.rerun_of, view.total, view.done) == (old.id, 7, 7)
    assert (again.step("numbers").hits, again.step("numbers").attempts) == (1, 0)
    assert again.step("double").hits == done
    assert again.step("total").hits == 0


@step
def scaled(x: int, factor: int) -> int:
    ran(f"scaled {x}")
    return factor * x


@flow
def scales(count: int, factor: int = 1) -> int:
    return total(scaled.map(numbers(count), factor=factor))


def test_preview_knows_that_a_changed_shared_input_reuses_no_item(stage: Stage) -> None:
    old = stage.play(scales, count=3)
    for changed, reused, runs in (({"factor": 2}, (), (0, 1, 2)), ({}, (0, 1, 2), ())):
        steps = reruns.preview(stage.engine, old.id, inputs=changed).steps
        items = next(one.items for one in steps if one.key == "scaled")
        assert items is not None
        assert (items.reused, items.runs, items.maybe) == (reused, runs, ())
        assert items.changed == (("factor",) if changed else ())
    # All after the step that the rerun begins with runs, every item of a map too.
    steps = reruns.preview(stage.engine, old.id, from_step="numbers").steps
    maps = [one.items for one in steps if one.key == "scaled"]
    assert maps == [PlannedItems(runs=(0, 1, 2))]


def test_completed_run_is_reused_whole(stage: Stage) -> None:
    old = stage.play(sums, count=3)
    RAN.clear()
    again = rerun(old)
    assert again.result() == 6
    assert not RAN
    assert all(one.is_reused for one in reruns.preview(stage.engine, again.id).steps)


def test_from_a_step_on_that_step_and_all_after_it_run(stage: Stage) -> None:
    old = stage.play(sums, count=3)
    RAN.clear()
    assert rerun(old, from_step="double").result() == 6
    assert Counter({"double 0": 1, "double 1": 1, "double 2": 1, "total": 1}) == RAN


def test_from_one_item_on_the_other_items_are_reused(stage: Stage) -> None:
    old = stage.play(sums, count=3)
    RAN.clear()
    assert rerun(old, from_step="double[1]").result() == 6
    assert Counter({"double 1": 1, "total": 1}) == RAN


def test_unknown_step_to_begin_with_is_refused(stage: Stage) -> None:
    old = stage.play(sums, count=1)
    for name in ("nothing", "numbers[0]"):
        with pytest.raises(InvalidInput, match="has no step"):
            reruns.rerun(stage.engine, old.id, from_step=name)


def test_other_inputs_run_only_what_depends_on_them(stage: Stage) -> None:
    old = stage.play(sums, count=3)
    RAN.clear()
    assert rerun(old, inputs={"factor": 10}).result() == 60
    assert Counter({"total": 1}) == RAN


def test_items_are_matched_by_their_inputs(stage: Stage) -> None:
    old = stage.play(sums, count=3)
    RAN.clear()
    assert rerun(old, inputs={"count": 5}).result() == 20
    assert Counter({"numbers": 1, "double 3": 1, "double 4": 1, "total": 1}) == RAN


def test_large_results_are_referenced_and_run_again_when_they_are_gone(stage: Stage) -> None:
    BROKEN.add("size_of")
    old = stage.play(blobs, size=5000)
    BROKEN.clear()
    RAN.clear()
    assert rerun(old).result() == 5000
    assert Counter({"size_of": 1}) == RAN

    rows = stage.engine.records.autocommit(lambda tx: tx.steps.stored(old.id, ["big"]))
    assert rows[0].result is not None
    stage.engine.results.objects.delete([rows[0].result.key])
    found = reruns.preview(stage.engine, old.id)
    assert {one.key: one.why for one in found.steps} == {
        "big": Why.UNREADABLE,
        "size_of": Why.DEPENDS,
    }
    RAN.clear()
    assert rerun(old).result() == 5000
    assert Counter({"big": 1, "size_of": 1}) == RAN


def test_rerun_of_a_rerun(stage: Stage) -> None:
    BROKEN.update({"double 1", "total"})
    first = stage.play(sums, count=3)
    BROKEN.discard("double 1")
    second = rerun(first)
    assert second.status is RunState.FAILED
    BROKEN.clear()
    RAN.clear()
    third = rerun(second)
    assert third.result() == 6
    assert Counter({"total": 1}) == RAN
    assert third.view.rerun_of == second.id


def test_open_and_unknown_runs_are_refused(stage: Stage) -> None:
    open_run = stage.submit(sums, {"count": 1})
    with pytest.raises(InvalidInput, match="only a finished run") as refused:
        reruns.rerun(stage.engine, open_run.id)
    assert "flowq runs cancel" in (refused.value.hint or "")
    cancel(stage.engine, open_run.id)
    assert rerun(open_run).result() == 0
    with pytest.raises(RunNotFound):
        reruns.rerun(stage.engine, RunId(node_id(open_run.id, "nobody")))


def test_rerun_is_an_action_of_both_runs_recorded_once(stage: Stage) -> None:
    old = stage.play(sums, count=2)
    given: Any = {"idempotency_key": "again", "from_step": "total", "inputs": {"factor": 2}}
    with acting(Face.HTTP, "ada"):
        again = rerun(old, **given)
        assert rerun(old, **given).id == again.id

    def seen(run_id: RunId) -> list[tuple[str, str, str]]:
        found = stage.engine.records.autocommit(lambda tx: tx.actions.of_run(run_id))
        return [(one.kind, str(one.actor), of_action(one)) for one in found]

    text = f"of {old.id} as {again.id}, from total, with other inputs: factor"
    assert seen(old.id) == seen(again.id) == [("rerun", "ada (http)", text)]
    assert not stage.engine.records.autocommit(lambda tx: tx.actions.of_run(RunId(uuid7())))


@flow(singleton="skip")
def alone(count: int) -> int:
    return total(numbers(count))


def test_rerun_that_its_flow_skips_is_refused_and_names_the_run_in_flight(stage: Stage) -> None:
    old = stage.play(alone, count=2)
    given: Any = {"idempotency_key": "again"}
    again = reruns.rerun(stage.engine, old.id, **given)
    assert reruns.rerun(stage.engine, old.id, **given) == again != old.id
    with pytest.raises(InvalidInput, match=f"is not rerun.*run {again} has its key"):
        reruns.rerun(stage.engine, old.id)
    stage.dispatcher.run(stage.engine)
    assert rerun(old).result() == 1


# --- child runs -----------------------------------------------------------------------------------


@flow
def parts(x: int) -> int:
    return total([double(x), double(x + 1)])


@flow
def whole(x: int) -> int:
    return total([parts(x), parts(x + 10)])


@flow
def many(count: int) -> int:
    return total(parts.map(numbers(count)))


def test_completed_child_run_is_reused_and_a_failed_one_is_rerun(stage: Stage) -> None:
    BROKEN.add("double 12")
    old = stage.play(whole, x=1)
    assert old.status is RunState.FAILED
    BROKEN.clear()
    RAN.clear()
    again = rerun(old)
    assert again.result() == 2 + 4 + 22 + 24
    assert RAN["double 12"] == 1
    assert RAN["double 11"] == RAN["double 1"] == RAN["double 2"] == 0
    child = child_run_id(node_id(again.id, "parts-2"))
    view = stage.engine.records.autocommit(lambda tx: tx.runs.view(child))
    assert view is not None
    assert view.rerun_of == child_run_id(node_id(old.id, "parts-2"))


def test_child_runs_of_a_map_are_rerun_item_by_item(stage: Stage) -> None:
    BROKEN.add("double 2")
    old = stage.play(many, count=3)
    BROKEN.clear()
    RAN.clear()
    again = rerun(old)
    assert again.result() == sum(2 * x + 2 * (x + 1) for x in range(3))
    assert RAN["double 0"] == 0
    assert RAN["double 2"] in (1, 2)
    child = child_run_id(item_id(node_id(again.id, "parts"), 2))
    assert stage.engine.records.autocommit(lambda tx: tx.runs.view(child)) is not None


# --- costs, and what is kept ----------------------------------------------------------------------


@flow
def deep(x: int) -> int:
    return total([whole(x)])


def test_savings_of_a_child_run_are_those_of_the_whole_tree(stage: Stage) -> None:
    old = stage.play(deep, x=1)
    inner = child_run_id(node_id(child_run_id(node_id(old.id, "whole")), "parts"))
    spent = update(STEPS).where(STEPS.c.id == node_id(inner, "double"))
    of_run = update(RUNS).where(RUNS.c.id == inner)
    with stage.records.engine.begin() as connection:
        connection.execute(spent.values(tokens_used=70, cost_estimate=Decimal("0.5")))
        connection.execute(of_run.values(total_tokens=70, total_cost=Decimal("0.5")))

    (whole_run, last) = reruns.preview(stage.engine, old.id).reused

    assert (whole_run.key, whole_run.tokens, whole_run.cost) == ("whole", 70, Decimal("0.5"))
    assert (last.tokens, last.cost) == (0, Decimal(0))
    again = rerun(old)
    assert again.view.saved == Usage(70, Decimal("0.5"))
    # The same once more: it was saved before, and so it is now.
    assert reruns.preview(stage.engine, again.id).saved_cost == Decimal("0.5")


def test_retention_keeps_what_a_rerun_reuses_and_deletes_the_rerun_first(
    records: SqlRecords,
) -> None:
    policies = Policies(retention=timedelta(seconds=-1), orphans_after=timedelta(seconds=-1))
    stage = Stage.on(records, threshold=2000, policies=policies)
    old = stage.play(blobs, size=5000)
    again = Played(stage, reruns.rerun(stage.engine, old.id, from_step="size_of"), blobs)
    assert isinstance(stage.engine.results.objects, MemoryObjects)
    objects = stage.engine.results.objects.keys()
    assert (collect(stage.engine), len(objects)) == (0, 1)
    stage.dispatcher.run(stage.engine)
    assert again.result() == 5000

    assert collect(stage.engine) == 1
    assert stage.engine.results.objects.keys() == objects
    assert old.status is RunState.COMPLETED
    assert (collect(stage.engine), stage.engine.results.objects.keys()) == (1, [])


class Meeting:
    """Lets what is first go on when the second is about to begin."""

    def __init__(self) -> None:
        self._first, self._second = threading.Event(), threading.Event()

    def hold(self) -> None:
        self._first.set()
        assert self._second.wait(60)

    def begin(self) -> None:
        assert self._first.wait(60)
        self._second.set()


def test_deletion_waits_for_a_rerun_that_is_being_recorded_and_deletes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, meeting = stage.play(sums, count=2), Meeting()
    insert = SqlReruns.insert_reused

    def held(rows: SqlReruns, run_id: RunId, steps: Any) -> None:
        insert(rows, run_id, steps)
        meeting.hold()

    def delete() -> Any:
        meeting.begin()
        return stage.records.transaction(lambda tx: tx.sweeps.delete_tree(old.id))

    monkeypatch.setattr(SqlReruns, "insert_reused", held)
    with ThreadPoolExecutor(2) as pool:
        rerunning = pool.submit(reruns.rerun, stage.engine, old.id)
        assert pool.submit(delete).result(60) is None
        assert Played(stage, rerunning.result(60), sums).result() == 2


def test_rerun_of_a_run_that_is_being_deleted_is_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, meeting = stage.play(sums, count=2), Meeting()
    begin = submission.begin

    def delete(tx: Any) -> Any:
        deleted = tx.sweeps.delete_tree(old.id)
        meeting.hold()
        return deleted

    def begun(*given: Any, **options: Any) -> Any:
        meeting.begin()
        return begin(*given, **options)

    monkeypatch.setattr(reruns, "begin", begun)
    with ThreadPoolExecutor(2) as pool:
        rerunning = pool.submit(reruns.rerun, stage.engine, old.id)
        assert pool.submit(stage.records.transaction, delete).result(60).runs == (old.id,)
        with pytest.raises(RunNotFound):
            rerunning.result(60)
