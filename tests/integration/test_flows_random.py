"""Random graphs end as plain Python says, in any order, with losses and duplicates."""

# ruff: noqa: FBT001 - the inputs of a flow are its parameters

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from flowq import flow, step
from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.records.database import SqlRecords
from flowq.core.states import TERMINAL_RUN_STATES, StepState
from flowq.engine.engine import Policies
from flowq.engine.rows import Batch
from tests.integration.playing import Played, Stage

COMPLETED, FAILED, SKIPPED = StepState.COMPLETED, StepState.FAILED, StepState.SKIPPED
CANCELLED = StepState.CANCELLED

_runs: dict[tuple[str, int | None, str], int] = {}


def _count() -> None:
    here = step.context()
    place = (here.key, here.index, str(here.run_id))
    _runs[place] = _runs.get(place, 0) + 1


@step
def combine(number: int, inputs: list[Any], fails: bool) -> int:
    _count()
    if fails:
        raise ValueError(f"{number} fails")
    return number + sum(flatten(inputs))


@step
def each(item: int, number: int) -> int:
    _count()
    return item + number


@step
def spread(number: int, inputs: list[Any]) -> list[int]:
    _count()
    return list(range((number + sum(flatten(inputs))) % 4))


def flatten(value: Any) -> list[int]:
    if isinstance(value, list):
        return [number for item in value for number in flatten(item)]
    return [value] if isinstance(value, int) else []


@flow(on_failure="continue")
def program(nodes: list[dict[str, Any]]) -> Any:
    made: list[Any] = []
    for number, node in enumerate(nodes):
        inputs = [made[i] for i in node["on"]]
        options: dict[str, Any] = {"key": f"n{number}", "allow_failure": node["allowed"]}
        options["accept_skipped"] = node["accepts"]
        if node["when"] is not None:
            options["when"] = made[node["when"]] != node["unlike"]
        if node["op"] == "map":
            options["allow_failure"] = False
            items = spread.options(**{**options, "key": f"list{number}"})(number, inputs)
            made.append(each.options(key=f"n{number}").map(items, number=number))
        else:
            made.append(combine.options(**options)(number, inputs, node["op"] == "fail"))
    return None


def expected(nodes: Sequence[dict[str, Any]]) -> list[tuple[StepState, Any]]:
    """What becomes of each node, by the words of the concepts."""
    ends: list[tuple[StepState, Any]] = []
    for number, node in enumerate(nodes):
        names = [*node["on"], *([node["when"]] if node["when"] is not None else [])]
        before = [(*ends[i], nodes[i]) for i in dict.fromkeys(names)]
        good = [s for s, _, n in before if s is COMPLETED or (s is FAILED and n["allowed"])]
        skipped = [s for s, _, _ in before if s is SKIPPED]
        if len(good) + len(skipped) < len(before):
            ends.append((CANCELLED, None))
        elif (skipped and not (node["accepts"] and good)) or (
            node["when"] is not None and ends[node["when"]][1] == node["unlike"]
        ):
            ends.append((SKIPPED, None))
        elif node["op"] == "fail":
            ends.append((FAILED, None))
        else:
            value = number + sum(flatten([ends[i][1] for i in node["on"]]))
            listed = [item + number for item in range(value % 4)]
            ends.append((COMPLETED, listed if node["op"] == "map" else value))
    return ends


@st.composite
def programs(draw: st.DrawFn) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 9))):
        before = st.integers(0, max(number - 1, 0))
        nodes.append(
            {
                "op": draw(st.sampled_from(["sum", "sum", "map", "fail"])),
                "on": draw(st.lists(before, max_size=3, unique=True)) if number else [],
                "when": draw(st.none() | before) if number else None,
                "unlike": draw(st.integers(0, 3)),
                "allowed": draw(st.booleans()),
                "accepts": draw(st.booleans()),
            }
        )
    return [n if n["op"] == "fail" else {**n, "allowed": False} for n in nodes]


class FaultyDispatcher(InProcessDispatcher):
    """Loses some messages and doubles others."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(pick=chance.randrange)
        self._chance = chance

    def send(self, batches: Sequence[Batch]) -> None:
        super().send(batches)
        kept = [one for one in self._ready for _ in range(self._chance.choice([0, 1, 1, 2]))]
        self._ready.clear()
        self._ready += kept


def check(played: Played, nodes: Sequence[dict[str, Any]]) -> None:
    states = played.states()
    for number, (state, value) in enumerate(expected(nodes)):
        assert (number, states[f"n{number}"]) == (number, state)
        if state is COMPLETED:
            rows = played.stage.records.single(lambda tx: tx.steps.by_flow_run_id(played.id))
            found = [
                r.outputs for r in rows if r.step_key == f"n{number}" and r.map_index is not None
            ]
            node = next(r for r in rows if r.step_key == f"n{number}" and r.map_index is None)
            assert (found if nodes[number]["op"] == "map" else node.outputs) == value
    view = played.view
    assert view.status in TERMINAL_RUN_STATES
    wanted = any(
        s is FAILED and not n["allowed"] for (s, _), n in zip(expected(nodes), nodes, strict=True)
    )
    assert (view.status.value == "failed") == wanted


SLOW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(nodes=programs(), seed=st.integers(0, 1000))
@SLOW
def test_outcome_is_what_plain_python_says_in_any_order(
    records: SqlRecords, nodes: list[dict[str, Any]], seed: int
) -> None:
    played = Stage.on(records, seed=seed).play(program, nodes=nodes)

    check(played, nodes)
    mine = {place: times for place, times in _runs.items() if place[2] == str(played.id)}
    assert set(mine.values()) <= {1}


@given(nodes=programs(), seed=st.integers(0, 1000))
@SLOW
def test_lost_and_doubled_messages_change_nothing(
    records: SqlRecords, nodes: list[dict[str, Any]], seed: int
) -> None:
    stage = Stage.on(records, policies=Policies(resend_after=timedelta(seconds=-5)))
    dispatcher = FaultyDispatcher(random.Random(seed))
    stage = replace(
        stage, engine=replace(stage.engine, dispatcher=dispatcher), dispatcher=dispatcher
    )

    played = stage.submit(program, {"nodes": nodes})
    for _ in range(60):
        dispatcher.run(stage.engine)
        if played.status in TERMINAL_RUN_STATES:
            break
        stage.sweep()
    else:
        pytest.fail(f"the run does not end: {played.view}")

    check(played, nodes)
    mine = {place: times for place, times in _runs.items() if place[2] == str(played.id)}
    assert set(mine.values()) <= {1}
    with records.engine.connect() as connection:
        held = text("SELECT count(*) FROM flow_step_runs WHERE lease_token IS NOT NULL")
        assert connection.execute(held).scalar() == 0
