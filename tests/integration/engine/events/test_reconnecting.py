"""A reader that comes back after any event neither misses nor repeats one, whatever Redis loses.

Where that cannot be, all is yielded again from WORKFLOW_STARTED on; what came before is forgotten.
"""

import random
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from flowq import flow, step
from flowq.adapters.events.memory import MemoryEvents
from flowq.core.events import Event, StepCompleted, WorkflowCompleted, WorkflowStarted
from flowq.core.ids import RunId
from flowq.engine.events.follow import follow
from tests.tools.playing import Stage

#: Kinds that are counted by readers, and so depend on when one reads.
COUNTED = {"PROGRESS_UPDATE", "BATCH_COMPLETED"}


@step
def square(value: int) -> int:
    return value * value


@step
def total(values: list[int]) -> int:
    return sum(values)


@flow(name="tests.reconnecting")
def squares(values: list[int]) -> int:
    first = total(square.map(values))
    return square.options(key="left")(square.options(key="right")(first))


class LossyEvents(MemoryEvents):
    """Loses whole streams, and events, at random; the next event says that some are missing."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.dice = dice
        self.loses = True
        self.is_missing = False

    @override
    def publish(self, kind: type[Event], run_id: RunId, **fields: Any) -> None:
        if self.loses and self.dice.random() < 0.02:
            self.forget()
        if self.loses and self.dice.random() < 0.1:
            self.is_missing = True
            return
        super().publish(kind, run_id, **fields)
        if self.is_missing:
            entries = self._streams[run_id]
            entries[-1], self.is_missing = replace(entries[-1], lost=True), False


def named(event: Event) -> tuple[Any, ...]:
    known = event.model_dump(include={"event_type", "step", "index", "attempt", "batch"})
    return tuple(known.values())


@pytest.mark.parametrize("loses", [True, False])
@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_missed_and_nothing_repeated(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, seed: int, *, loses: bool
) -> None:
    monkeypatch.setattr("flowq.engine.events.follow._LATE", 0.0)
    dice = random.Random(seed)
    events = LossyEvents(dice)
    events.loses = loses
    stage = Stage(replace(stage.engine, events=events), stage.dispatcher, stage.records)
    played = stage.submit(squares, {"values": [1, 2, 3]})

    heard: list[Event] = []
    begun = 0
    while not (heard and isinstance(heard[-1], WorkflowCompleted)):
        if (delivery := stage.dispatcher._next()) is not None:
            stage.dispatcher.deliver(stage.engine, delivery)
        if dice.random() < 0.6:
            after = heard[-1].id if heard else None
            reading = follow(stage.engine, played.id, after=after, wait=False)
            for event in reading:
                if isinstance(event, WorkflowStarted):
                    heard, begun = [], begun + 1
                heard.append(event)
                if dice.random() < 0.1:
                    break  # the connection ends
    names = [named(event) for event in heard if event.event_type not in COUNTED]
    assert len(set(names)) == len(names)
    assert len({event.id for event in heard}) == len(heard)
    ended = [event.step for event in heard if isinstance(event, StepCompleted)]
    assert sorted(["square"] * 4 + ["total", "left", "right"]) == sorted(ended)
    assert loses or begun == 1
