"""The events of a rerun: what is reused is told as what runs, at once."""

# mypy: disable-error-code="misc, no-any-return, call-overload, arg-type, list-item"

from contextlib import suppress
from typing import Any

import pytest

from flowq import flow, step
from flowq.adapters.events.memory import MemoryEvents
from flowq.core.errors import StepFailed as CallFailed
from flowq.core.events import BatchCompleted, ProgressUpdate, StepCompleted, StepFailed
from flowq.engine.events.follow import follow
from flowq.engine.runs import reruns
from tests.tools.playing import Stage

BROKEN: set[int] = set()


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def double(x: int) -> int:
    if x in BROKEN:
        raise ValueError(f"{x} is broken")
    return 2 * x


@step
def total(values: list[int]) -> int:
    return sum(values)


@flow(on_failure="continue")
def sums(count: int) -> int:
    return total(double.map(numbers(count)))


@flow
async def caught(count: int) -> int:
    with suppress(CallFailed):
        await double(7)
    values = await double.map(range(count))
    return await total(values)


@pytest.mark.parametrize("flow_", [sums, caught])
def test_reused_steps_are_told_from_the_stream_as_from_the_rows(stage: Stage, flow_: Any) -> None:
    BROKEN.clear()
    BROKEN.update({3, 7})
    old = stage.play(flow_, count=5)
    BROKEN.remove(3)
    run_id = reruns.rerun(stage.engine, old.id)
    early = list(follow(stage.engine, run_id, wait=False))
    stage.dispatcher.run(stage.engine)
    streamed = list(follow(stage.engine, run_id))
    assert isinstance(stage.engine.events, MemoryEvents)
    stage.engine.events.forget()
    rebuilt = list(follow(stage.engine, run_id))

    def ends(events: list[Any]) -> set[tuple[str, int | None, str]]:
        kinds = (StepCompleted, StepFailed)
        return {(e.step, e.index, e.event_type) for e in events if isinstance(e, kinds)}

    assert {one[2] for one in ends(early)}
    assert [one for one in [*early, *streamed] if one.rebuilt] == []
    assert ends(early) < ends(streamed) == ends(rebuilt)
    for events in (streamed, rebuilt):
        batches = [e.items for e in events if isinstance(e, BatchCompleted) and e.items]
        assert batches == [5]
        last = [e for e in events if isinstance(e, ProgressUpdate)][-1]
        assert (last.done, last.percentage) == (last.total, 100)
