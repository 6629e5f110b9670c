"""Small batches advance by themselves, large ones by their chord: the outcome is the same.

And many runs that are submitted together: all are checked before the first is recorded.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from flowq import errors, flow, step
from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState
from flowq.engine.attempts.outcomes import AttemptEnding
from flowq.engine.attempts.run import run_attempt
from flowq.engine.engine import Policies
from flowq.engine.model.rows import RunView
from flowq.engine.runs import submission
from tests.tools.playing import Stage

COMPLETED, SKIPPED = StepState.COMPLETED, StepState.SKIPPED
#: More than `submit_many` records in one transaction.
MANY = 30


@step
def double(value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is negative")
    return 2 * value


@step
def total(values: list[Any]) -> int:
    return sum(value for value in values if value)


@flow
def mapped(values: list[int]) -> int:
    return total(double.map(values, tolerate=1))


@flow
def diamond(value: int) -> int:
    top = double(value)
    return total([double(top), double(top), double(top)])


@flow
def chosen(value: int) -> Any:
    return double.options(key="kept", when=double(value) > 4)(10)


@flow
def nothing(value: int) -> int:
    return value


def ended(view: RunView) -> dict[str, Any]:
    return {
        "status": view.status,
        "error": view.error,
        "progress": (view.done, view.total),
        "steps": {step.key: (step.status, dict(step.counts)) for step in view.steps},
    }


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize(
    "values", [[], [1], [1, 2], [1, -2, 3], [-1, -2, 3], list(range(8))], ids=str
)
def test_a_map_ends_the_same_with_a_chord_and_without(
    stage: Stage, values: list[int], seed: int | None
) -> None:
    outcomes = []
    for chord_from in (2, 8, 100):
        played = Stage.on(stage.records, seed=seed, policies=Policies(chord_from=chord_from)).play(
            mapped, values=values
        )
        outcomes.append(ended(played.view))
        if played.status is RunState.COMPLETED:
            assert played.result() == sum(2 * value for value in values if value > 0)

    assert outcomes[0]["status"] is (
        RunState.FAILED if sum(value < 0 for value in values) > 1 else RunState.COMPLETED
    )
    # A map that fails early cancels what has not begun; which that is, is up to the deliveries.
    if outcomes[0]["status"] is RunState.COMPLETED or seed is None:
        assert outcomes[0] == outcomes[1] == outcomes[2]


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_diamond_ends_the_same_with_a_chord_and_without(stage: Stage, seed: int | None) -> None:
    outcomes = []
    for chord_from in (2, 8):
        played = Stage.on(stage.records, seed=seed, policies=Policies(chord_from=chord_from)).play(
            diamond, value=1
        )
        assert played.result() == 12
        outcomes.append(ended(played.view))

    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("chord_from, in_chord", [(2, True), (3, True), (4, False)])
def test_the_size_of_a_batch_decides_how_it_is_sent(
    stage: Stage,
    chord_from: int,
    in_chord: bool,  # noqa: FBT001 - a parameter
) -> None:
    small = Stage.on(stage.records, policies=Policies(chord_from=chord_from))
    small.submit(mapped, {"values": [1, 2, 3]})

    assert [one.in_chord for one in small.dispatcher.waiting] == [in_chord] * 3


@pytest.mark.parametrize("flow_of", ["map", "diamond"])
@pytest.mark.parametrize("round", range(5))
def test_the_last_two_that_end_at_once_advance_once(stage: Stage, flow_of: str, round: int) -> None:  # noqa: A002 - pytest's parameter
    """Neither leaves it to the other, and what follows is queued once."""
    played_flow, inputs = (
        (mapped, {"values": [1, 2]}) if flow_of == "map" else (diamond, {"value": 1})
    )
    both = 2 if flow_of == "map" else 3
    played = stage.submit(played_flow, inputs)
    if flow_of == "diamond":
        stage.dispatcher.run(stage.engine, limit=1)
    items = stage.dispatcher.waiting
    assert [one.in_chord for one in items] == [False] * both
    stage.dispatcher.clear()
    together = Barrier(both)

    def work(delivery: Any) -> AttemptEnding:
        together.wait(60)
        message = delivery.message
        return run_attempt(stage.engine, message.id, message.run_id, in_chord=False).ending

    with ThreadPoolExecutor(both) as pool:
        assert list(pool.map(work, items)) == [AttemptEnding.COMPLETED] * both

    assert [one.message.label for one in stage.dispatcher.waiting if one.message] == ["total"]
    stage.dispatcher.run(stage.engine)
    assert played.result() == (6 if flow_of == "map" else 12)


# --- many runs -----------------------------------------------------------------------------------


def submitted(stage: Stage, chosen: Any, inputs: list[dict[str, Any]]) -> list[RunView]:
    ids = submission.submit_many(stage.engine, chosen.type, inputs)
    stage.dispatcher.run(stage.engine)
    return [seen(stage, run_id) for run_id in ids]


def seen(stage: Stage, run_id: RunId) -> RunView:
    view = stage.engine.records.autocommit(lambda tx: tx.runs.view(run_id))
    assert view is not None
    return view


def recorded(stage: Stage, chosen: Any) -> int:
    name = chosen.type.name
    return len(stage.records.autocommit(lambda tx: tx.runs.views(flow_name=name, limit=1000)))


def test_many_runs_are_returned_in_order(stage: Stage) -> None:
    views = submitted(stage, diamond, [{"value": value} for value in range(MANY)])

    assert [view.outputs for view in views] == [12 * value for value in range(MANY)]
    assert {view.status for view in views} == {RunState.COMPLETED}


def test_none_is_recorded_when_one_is_refused(stage: Stage) -> None:
    before = recorded(stage, diamond)
    inputs: list[dict[str, Any]] = [{"value": 1}] * MANY + [{"value": "many"}]

    with pytest.raises(errors.InvalidInput, match="value"):
        submission.submit_many(stage.engine, diamond.type, inputs)

    assert recorded(stage, diamond) == before
    assert stage.dispatcher.waiting == ()


def test_inputs_may_come_from_an_iterator(stage: Stage) -> None:
    ids = submission.submit_many(stage.engine, nothing.type, ({"value": n} for n in range(3)))

    assert len(set(ids)) == 3
    assert submission.submit_many(stage.engine, nothing.type, []) == []


def test_runs_without_steps_are_finished(stage: Stage) -> None:
    views = submitted(stage, nothing, [{"value": 1}, {"value": 2}])

    assert [(view.status, view.outputs) for view in views] == [
        (RunState.COMPLETED, 1),
        (RunState.COMPLETED, 2),
    ]


def test_maps_at_the_root_advance(stage: Stage) -> None:
    views = submitted(stage, mapped, [{"values": [1, 2]}, {"values": []}, {"values": [-1, -2]}])

    assert [view.status for view in views] == [
        RunState.COMPLETED,
        RunState.COMPLETED,
        RunState.FAILED,
    ]
    assert [view.outputs for view in views] == [6, 0, None]


def test_conditions_behind_the_root_advance(stage: Stage) -> None:
    views = submitted(stage, chosen, [{"value": 1}, {"value": 3}])

    assert [view.outputs for view in views] == [None, 20]
    assert [view.steps[1].status for view in views] == [SKIPPED, COMPLETED]
