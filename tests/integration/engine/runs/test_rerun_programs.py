"""Reruns of programs, on the real engine, in the test's own thread."""

# A `def` step is typed as what it returns; a program awaits it all the same.
# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

import flowq
from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import InvalidInput, StepFailed
from flowq.core.rerun import Why
from flowq.core.states import RunState
from flowq.engine.runs import reruns
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.signals import send_signal
from tests.tools.playing import Played, Stage

RAN: Counter[str] = Counter()
BROKEN: set[str] = set()
#: What a program has seen, in one replay after the other.
SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    for one in (RAN, BROKEN, SEEN):
        one.clear()


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records, wait=lambda _: None)


def rerun(played: Played, **options: Any) -> Played:
    stage = played.stage
    again = Played(stage, reruns.rerun(stage.engine, played.id, **options), played.flow)
    stage.dispatcher.run(stage.engine)
    return again


@step
def work(name: str) -> str:
    RAN[name] += 1
    if name in BROKEN:
        raise ValueError(f"{name} is broken")
    return name.upper()


@flow
async def in_a_row(names: list[str]) -> str:
    return "".join([await work(name) for name in names])


@flow
async def at_once(names: list[str]) -> str:
    return "".join(await asyncio.gather(*(work(name) for name in names)))


@flow
async def judged(names: list[str]) -> str:
    found = await asyncio.gather(*(work(name) for name in names), return_exceptions=True)
    bad = [one for one in found if isinstance(one, BaseException)]
    if bad:
        raise ValueError(f"{len(bad)} have failed")
    return "".join(map(str, found))


@flow
async def with_fallback(names: list[str]) -> str:
    try:
        first = await work("first")
    except StepFailed:
        first = await work("fallback")
    return first + await work("last")


@flow
async def mapped(names: list[str]) -> str:
    return "".join(await work.map(names))


@flow
async def parent(names: list[str]) -> str:
    return await work("begin") + await in_a_row(names)


@flow
async def recorded(names: list[str]) -> str:
    began = flowq.now()
    drawn = (flowq.uuid(), flowq.random())
    text = await work("a")
    await flowq.sleep(timedelta(milliseconds=1))
    SEEN.append((began, drawn, flowq.uuid(), flowq.now()))
    return text + await work("b")


@flow
async def approved(names: list[str]) -> str:
    answer = await flowq.signal("answer")
    return answer + await work("a")


@pytest.mark.parametrize("flow_", [in_a_row, at_once, judged, mapped, parent])
def test_what_has_completed_is_reused_and_what_has_failed_runs(stage: Stage, flow_: Any) -> None:
    BROKEN.add("d")
    old = stage.play(flow_, names=list("abcdef"))
    assert old.status is RunState.FAILED
    BROKEN.clear()
    before = Counter(RAN)
    again = rerun(old)
    assert again.result().endswith("ABCDEF")
    assert again.view.rerun_of == old.id
    # The call that failed ran again; of the others those that had not run before.
    assert all(RAN[name] == 1 for name in "abcef"), RAN
    assert RAN["d"] == 2
    assert before["a"] == 1


def test_from_a_call_on_it_and_all_after_it_run(stage: Stage) -> None:
    old = stage.play(in_a_row, names=list("abc"))
    assert rerun(old, from_step="work#2").result() == "ABC"
    assert Counter(a=1, b=2, c=2) == RAN
    found = reruns.preview(stage.engine, old.id, from_step="work#2")
    assert {one.key: one.why for one in found.steps} == {
        "work#1": None,
        "work#2": Why.FORK,
        "work#3": Why.DEPENDS,
    }
    with pytest.raises(InvalidInput, match="has no call"):
        reruns.preview(stage.engine, old.id, from_step="work#9")


def test_from_one_item_of_a_called_map(stage: Stage) -> None:
    old = stage.play(mapped, names=list("abc"))
    assert rerun(old, from_step="work#1[1]").result() == "ABC"
    assert Counter(a=1, b=2, c=1) == RAN


def test_failure_that_the_program_has_caught_stays_in_its_history(stage: Stage) -> None:
    BROKEN.update({"first", "last"})
    old = stage.play(with_fallback, names=[])
    BROKEN.clear()
    assert rerun(old).result() == "FALLBACKLAST"
    assert Counter(first=1, fallback=1, last=2) == RAN
    assert rerun(old, from_step="work#1").result() == "FIRSTLAST"


def test_with_other_inputs_calls_are_reused_until_the_first_that_differs(stage: Stage) -> None:
    old = stage.play(in_a_row, names=list("abc"))
    others = {"names": list("axc")}
    found = reruns.preview(stage.engine, old.id, inputs=others)
    assert {one.why for one in found.steps} == {Why.COMPARED}
    assert rerun(old, inputs=others).result() == "AXC"
    assert Counter(a=1, b=1, x=1, c=2) == RAN


def test_with_other_inputs_and_a_first_call_nothing_is_reused(stage: Stage) -> None:
    old = stage.play(in_a_row, names=list("abc"))
    found = reruns.preview(stage.engine, old.id, from_step="work#2", inputs={"names": list("abx")})
    assert Why.COMPARED not in {one.why for one in found.steps}
    assert "calls before that one run again too" in " ".join(found.notes)
    assert rerun(old, from_step="work#2", inputs={"names": list("abx")}).result() == "ABX"
    assert Counter(a=2, b=2, c=1, x=1) == RAN


def test_clock_and_random_numbers_are_kept_up_to_the_fork(stage: Stage) -> None:
    BROKEN.add("b")
    old = stage.play(recorded, names=[])
    first = SEEN[-1]
    BROKEN.clear()
    again = rerun(old)
    assert again.result() == "AB"
    assert {SEEN[-1], first} == {first}
    other = rerun(old, from_step="work#1")
    assert other.result() == "AB"
    began, drawn, drawn_later, _ = SEEN[-1]
    assert (began, drawn) == first[:2]
    assert drawn_later != first[2]
    # A rerun of a rerun has the numbers of the run that made them.
    BROKEN.add("b")
    failed = rerun(other, from_step="work#3")
    BROKEN.clear()
    assert rerun(failed).result() == "AB"
    assert SEEN[-1][2] == drawn_later


def test_received_signal_is_reused(stage: Stage) -> None:
    BROKEN.add("a")
    old = stage.play(approved, names=[])
    send_signal(stage.engine, old.id, "answer", "yes ")
    stage.dispatcher.run(stage.engine)
    assert old.status is RunState.FAILED
    BROKEN.clear()
    assert rerun(old).result() == "yes A"


def test_cancelled_program_goes_on_from_what_it_has_observed(stage: Stage) -> None:
    BROKEN.clear()
    old = stage.play(approved, names=[])
    cancel(stage.engine, old.id)
    stage.dispatcher.run(stage.engine)
    assert old.status is RunState.CANCELLED
    again = rerun(old)
    assert again.status is RunState.RUNNING
    send_signal(stage.engine, again.id, "answer", "no ")
    stage.dispatcher.run(stage.engine)
    assert again.result() == "no A"


def test_other_code_than_was_recorded_pauses_the_rerun(stage: Stage) -> None:
    BROKEN.add("c")
    old = stage.play(changing, names=list("abc"))
    BROKEN.clear()
    CHANGED.append(True)
    try:
        again = rerun(old)
        assert again.status is RunState.PAUSED
        assert "does not match its record" in again.error
        assert rerun(old, from_step="work#1").result() == "xABC"
    finally:
        CHANGED.clear()


CHANGED: list[bool] = []


@flow
async def changing(names: list[str]) -> str:
    found = [await step_of("x")] if CHANGED else []
    found += [await work(name) for name in names]
    return "".join(found)


@step
def step_of(x: str) -> str:
    return x


def test_rerun_survives_the_loss_of_the_cached_program(stage: Stage) -> None:
    BROKEN.add("c")
    old = stage.play(at_once, names=list("abc"))
    BROKEN.clear()
    again = Played(stage, reruns.rerun(stage.engine, old.id), at_once)
    while stage.dispatcher.run(stage.engine, limit=1):
        stage.engine.program_cache.clear()
    assert again.result() == "ABC"
    assert Counter(a=1, b=1, c=2) == RAN
