"""The cause of a failed run is found by what its rows name, whatever keys and errors are called."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from flowq import errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import node_id
from flowq.core.states import RunState, StopKind
from flowq.engine.engine import Policies
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause
from flowq.entrypoints.flower.pages.run import tabs
from flowq.entrypoints.flower.pages.run.request import RunQuery, read_page
from tests.tools.flower.pages import pages_of
from tests.tools.invariants import assert_invariants
from tests.tools.playing import Played, Stage

KEYS = ["fail", "it's", 'say "no"', 'it\'s "both" \\', "a' failed: b", "x failed: y", "m[3]", "%_"]


class StepFailed(Exception):
    """Of the user's own, and of the name of one of flowq's."""


@step
def fine(value: Any = None) -> int:
    return 1


@step
async def fail(message: str = "no") -> int:
    raise ValueError(message)


@step
def fail_likewise() -> int:
    raise StepFailed("first failed: ValueError: not that")


@step
def fail_at(number: int) -> int:
    if number:
        raise ValueError(f"number {number}")
    return number


@flow
def of_key(key: str) -> Any:
    fail.options(key="first", allow_failure=True)()
    return fine(fail.options(key=key)(f"step 'first' failed: of {key}"))


@flow
def of_map(numbers: list[int]) -> Any:
    return fine(fail_at.options(key="the map").map(numbers))


@flow
def of_names() -> Any:
    fail.options(key="first", allow_failure=True)()
    return fail_likewise.options(key="likewise")()


@flow
def two_at_once() -> Any:
    return [fail.options(key=key)(f"of {key}\0") for key in ("left", "right")]


@flow
def of_items(texts: list[str]) -> Any:
    return fail.map(texts)


@flow
def innermost(number: int) -> Any:
    return fail_at.map([0, number])


@flow
def middle(number: int) -> Any:
    return fine(innermost(number))


@flow
def outermost(numbers: list[int]) -> Any:
    return fine(middle.map(numbers))


@flow
async def program(key: str) -> Any:
    with suppress(errors.StepFailed):
        await fail("this one is caught")
    return await fail.options(key=key)("this one is not")


@flow
async def program_above(key: str) -> Any:
    return await program(key)


@flow
async def of_its_own(named: Any) -> int:
    with suppress(errors.StepFailed):
        await fail("caught")
    raise errors.StepFailed("fail#0 failed: so it says", step=named)


@flow
async def of_half_a_letter() -> int:
    raise errors.StepFailed("it has no such call", step="\ud800")


@flow
async def of_another_kind() -> Any:
    try:
        return await fail("caught")
    except errors.StepFailed:
        raise ValueError("fail#1 failed: so it says") from None


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records)


def way(played: Played) -> list[str]:
    """Return the labels of the failures that lead to a run's own, the cause first."""
    engine = played.stage.engine
    shown = tabs.errors(engine, read_page(engine, played.id), RunQuery())
    return [trouble.failure.label for trouble in shown["way"]]


def causes(*played: Played) -> Any:
    """Return the causes that a list of these runs shows."""
    ids = [one.id for one in played]
    return played[0].stage.records.autocommit(lambda tx: tx.overview.root_causes(ids))


def test_causes_in_child_runs_are_found_however_deep(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = stage.play(outermost, numbers=[0, 3])
    other, fine = stage.play(of_map, numbers=[1]), stage.play(outermost, numbers=[0])

    assert (played.status, fine.status) == (RunState.FAILED, RunState.COMPLETED)
    found = causes(other, played, fine)
    assert {*found} == {other.id, played.id}
    assert (found[other.id].runs, found[other.id].step) == ((), "the map[0]")
    cause = found[played.id]
    assert (cause.step, cause.error_type, cause.error) == ("fail_at[1]", "ValueError", "number 3")
    assert [one.flow_name for one in cause.runs] == [middle.type.name, innermost.type.name]
    with pages_of(stage.engine, monkeypatch) as pages:
        listed, head = pages.text("/flows"), pages.text(f"/flows/{played.id}")
    assert f"ValueError: number 3 in fail_at[1] of {innermost.type.name}" in listed
    assert "ValueError: number 1 in the map[0]" in listed  # and not how many items have failed
    assert f"Failed: ValueError : number 3 in fail_at[1] of {innermost.type.name}" in head


@pytest.mark.parametrize("key", KEYS)
def test_step_that_has_failed_a_run_is_its_cause_whatever_its_key(stage: Stage, key: str) -> None:
    played = stage.play(of_key, key=key)

    assert played.status is RunState.FAILED
    assert (played.view.stop_kind, way(played)) == (StopKind.FAILED, [key])
    assert played.view.failed_step_id == node_id(played.id, key)
    assert_invariants(stage.records)


def test_failed_items_replace_the_map_that_has_failed_a_run(stage: Stage) -> None:
    played = stage.play(of_map, numbers=[0, 5, 7])

    assert played.view.failed_step_id == node_id(played.id, "the map")
    assert way(played) == ["the map[1]"]
    assert_invariants(stage.records)


def test_error_with_the_name_of_flowqs_own_leads_nowhere(stage: Stage) -> None:
    played = stage.play(of_names)

    assert played.step("likewise").error_type == "StepFailed"
    assert way(played) == ["likewise"]


def test_first_of_a_batchs_failures_is_the_cause_though_it_has_a_nul(records: SqlRecords) -> None:
    stage = Stage.on(records, policies=Policies(chord_from=2))
    played = stage.play(two_at_once)

    assert played.status is RunState.FAILED
    (cause,) = way(played)
    assert played.view.failed_step_id == node_id(played.id, cause)
    assert f"of {cause}\N{SYMBOL FOR NULL}" in played.error
    assert_invariants(stage.records)


def test_item_with_a_nul_is_shown(stage: Stage) -> None:
    played = stage.play(of_items, texts=["a\0b"])

    assert way(played) == ["fail[0]"]


@pytest.mark.parametrize("key", KEYS)
def test_program_fails_of_the_call_that_it_did_not_catch(stage: Stage, key: str) -> None:
    played = stage.play(program_above, key=key)

    assert played.status is RunState.FAILED
    child = way(played)[0]
    assert child.startswith(key)
    assert len(way(played)) == 4  # the call in the child run, that program, its call, this program
    cause = causes(played)[played.id]
    assert (cause.step, cause.error_type, cause.error) == (child, "ValueError", "this one is not")
    assert [one.flow_name for one in cause.runs] == [program.type.name]
    assert_invariants(stage.records)


@pytest.mark.parametrize("named", ["", "no such call", None, 7, ["fail#0"]], ids=repr)
def test_program_that_names_no_call_of_its_own_is_the_cause_itself(
    stage: Stage, named: Any
) -> None:
    played = stage.play(of_its_own, named=named)

    assert played.status is RunState.FAILED
    assert (len(way(played)), played.view.steps[0].failed_step_id) == (1, None)
    assert_invariants(stage.records)


def test_program_that_names_what_is_no_key_fails_all_the_same(stage: Stage) -> None:
    played = stage.play(of_half_a_letter)

    assert (played.status, len(way(played))) == (RunState.FAILED, 1)


def test_program_that_has_caught_a_failure_is_the_cause_of_its_next(stage: Stage) -> None:
    played = stage.play(of_another_kind)

    assert played.view.steps[0].error_type == "ValueError"
    assert len(way(played)) == 1


def test_cancel_in_the_words_of_a_failure_is_still_a_users(stage: Stage) -> None:
    played = stage.submit(of_key, {"key": "b"})
    stage.dispatcher.run(stage.engine, limit=1)  # the one that may fail has failed
    cancel(stage.engine, played.id, "step 'first' failed: no")
    stage.dispatcher.run(stage.engine)

    assert (played.status, played.view.stop_kind) == (RunState.CANCELLED, StopKind.USER)
    assert (played.view.failed_step_id, way(played)) == (None, [])
    assert_invariants(stage.records)


def test_cancel_of_a_paused_run_takes_the_place_of_the_pause(stage: Stage) -> None:
    played = stage.submit(of_key, {"key": "b"})
    pause(stage.engine, played.id, "budget is spent: $1 of $1")

    assert played.view.stop_kind is StopKind.USER
    cancel(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)
    assert (played.view.stop_kind, played.error) == (StopKind.USER, "no reason was given")


def test_failures_of_one_type_at_one_place_are_grouped() -> None:
    def failure(key: str, index: int, error: str, line: int) -> Any:
        traceback = f'  File "/flows.py", line {line}, in fail_at\n'
        return SimpleNamespace(
            failure=SimpleNamespace(key=key, index=index, error_type=error, traceback=traceback)
        )

    first, other, again = failure("m", 0, "E", 7), failure("m", 1, "E", 8), failure("m", 2, "E", 7)
    type_, step_ = failure("m", 3, "F", 7), failure("n", 4, "E", 7)
    nowhere = [failure(key, 0, "Lost", 0) for key in "mn"]
    for one in nowhere:
        one.failure.traceback = None

    assert [[first, again, step_], [other], [type_], *([one] for one in nowhere)] == tabs.alike(
        [first, other, again, type_, step_, *nowhere]
    )
