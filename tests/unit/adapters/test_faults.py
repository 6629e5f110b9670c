"""The text of FLOWQ_FAULTS, and how often what it says happens."""

import time
from pathlib import Path

import pytest

from flowq.adapters.faults import Fault, hook, parse
from flowq.core.errors import DatabaseUnavailable, FlowqError, RedisUnavailable
from flowq.engine import faults
from flowq.engine.faults import FaultPoint


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
        except RedisUnavailable:
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
    with faults.injected(passed.append):
        faults.reach(FaultPoint.BEFORE_CLAIM)
    faults.reach(FaultPoint.AFTER_CLAIM)

    assert passed == [FaultPoint.BEFORE_CLAIM]
