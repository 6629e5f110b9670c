"""The points where tests break things, the text of CHAOS_FAULTS, and how often it happens."""

import threading
import time
from pathlib import Path

import pytest

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import BrokerUnavailable, DatabaseUnavailable, FlowqError
from flowq.engine.ports.cached import CachedResults
from flowq.engine.ports.runs import RunRows
from flowq.engine.ports.steps import StepRows
from flowq.engine.ports.sweeps import Sweeps
from tests.tools.faults import wrappers
from tests.tools.faults.points import FaultPoint, injected, reach
from tests.tools.faults.text import Fault, hook, parse
from tests.tools.playing import Stage


def test_text_is_read() -> None:
    assert parse("after_claim:kill; before_code:delay=2.5*inf ;after_publish:raise*3@5") == [
        Fault(FaultPoint.AFTER_CLAIM, "kill"),
        Fault(FaultPoint.BEFORE_CODE, "delay", times=float("inf"), seconds=2.5),
        Fault(FaultPoint.AFTER_PUBLISH, "raise", first=5, times=3),
    ]


@pytest.mark.parametrize("text", ["after_claim", "somewhere:kill", "after_claim:explode"])
def test_what_cannot_be_read_is_refused_with_the_points_there_are(text: str) -> None:
    with pytest.raises(FlowqError, match="no fault") as refused:
        parse(text)

    assert "before_finish" in str(refused.value)


def test_fault_happens_as_often_as_it_says_whoever_counts(tmp_path: Path) -> None:
    text = "after_publish:raise*2@2"
    hooks = [hook(parse(text), tmp_path), hook(parse(text), tmp_path)]
    broken = []
    for number in range(6):
        try:
            hooks[number % 2](FaultPoint.AFTER_PUBLISH)
        except BrokerUnavailable:
            broken.append(number)

    assert broken == [1, 2]


def test_other_points_are_passed(tmp_path: Path) -> None:
    reached = hook(parse("before_claim:raise"), tmp_path)

    reached(FaultPoint.AFTER_CLAIM)

    with pytest.raises(DatabaseUnavailable):
        reached(FaultPoint.BEFORE_CLAIM)


def test_delay_waits(tmp_path: Path) -> None:
    reached = hook(parse("before_code:delay=0.02"), tmp_path)
    began = time.monotonic()

    reached(FaultPoint.BEFORE_CODE)

    assert time.monotonic() - began >= 0.02


def test_hook_holds_within_its_block() -> None:
    passed: list[FaultPoint] = []
    with injected(passed.append):
        reach(FaultPoint.BEFORE_CLAIM)
    reach(FaultPoint.AFTER_CLAIM)

    assert passed == [FaultPoint.BEFORE_CLAIM]


PORTS = {"runs": RunRows, "steps": StepRows, "sweeps": Sweeps, "cached": CachedResults}


def test_every_point_has_a_place() -> None:
    """A method of a port that is renamed must not take its points away."""
    methods = [(port, name) for port, names in wrappers.POINTS.items() for name in names]
    of_rows = {point for port, name in methods for point in wrappers.POINTS[port][name]}

    assert [] == [one for one in methods if not hasattr(PORTS[one[0]], one[1])]
    assert of_rows | {"publish", "result", "code", "call", "answer"} == {
        point.partition("_")[2] for point in FaultPoint
    }


@step(name="tests.faults.one")
def one(n: int) -> int:
    return n + 1


@flow(name="tests.faults.two")
def two(n: int) -> int:
    return one(one(n))


def test_points_are_passed_in_order_and_outside_of_transactions(sqlite_url: str) -> None:
    """The work of a write that was given up for a point has left nothing, and is run again."""
    passed: list[str] = []
    records = SqlRecords(sqlite_url)
    stage, own = Stage.on(records), threading.get_ident()

    def look(point: FaultPoint) -> None:
        if threading.get_ident() != own:
            return  # some engine of this process renews its leases
        passed.append(point)
        # On SQLite nobody else can write within a transaction.
        records.transaction(lambda tx: tx.limits.forget_ended(1))

    with injected(look):
        played = stage.play(two, n=1)

    assert played.result() == 3
    attempt = ["claim", "code", "result"]
    points = ["submit", "publish", *attempt, "complete", "publish", *attempt]
    both = [f"{when}_{point}" for point in points for when in ("before", "after")]
    # One statement ends the last step and the run.
    last = [f"{when}_{point}" for when in ("before", "after") for point in ("complete", "finish")]
    assert passed == [*both, *last]
    records.close()
