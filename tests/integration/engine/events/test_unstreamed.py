"""Events where there is no Redis: a reader gets them from the rows, live and later."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from flowq import flow, step
from flowq.adapters.events.unstreamed import UnstreamedEvents
from flowq.core.events import Event, StreamChunk, WorkflowCompleted
from flowq.engine.engine import Engine
from flowq.engine.events.follow import follow
from tests.tools.playing import Stage


@step
def square(value: int) -> int:
    return value * value


@step
def total(values: list[int]) -> int:
    return sum(values)


@flow
def squares(size: int) -> Any:
    return total([square(value) for value in range(size)])


@pytest.fixture
def unstreamed(stage: Stage) -> Engine:
    return replace(stage.engine, events=UnstreamedEvents())


def _facts(events: list[Event]) -> list[tuple[str, Any]]:
    """Return what has happened; how often progress is told depends on when one looks."""
    kinds = [(event.event_type, getattr(event, "step", None)) for event in events]
    return sorted((one for one in kinds if one[0] != "PROGRESS_UPDATE"), key=str)


def test_events_are_those_that_a_stream_would_have(stage: Stage, unstreamed: Engine) -> None:
    """Each once, from the first to the last; but for text, which is in no row."""
    streamed = stage.play(squares, size=3)
    run_id = stage.submit(squares, {"size": 3}).id
    stage.dispatcher.run(unstreamed)

    seen = list(follow(unstreamed, run_id))
    wanted = list(follow(stage.engine, streamed.id))

    assert _facts(wanted) == _facts(seen)
    assert isinstance(seen[-1], WorkflowCompleted)
    assert not any(isinstance(event, StreamChunk) for event in seen)


def test_reader_that_waits_sees_the_run_move(stage: Stage, unstreamed: Engine) -> None:
    """It reads the rows again while the run goes on, and ends with it."""
    run_id = stage.submit(squares, {"size": 2}).id
    seen: list[Event] = []
    some = threading.Event()

    def read() -> None:
        for event in follow(unstreamed, run_id, timeout=60):
            seen.append(event)
            if event.event_type == "STEP_COMPLETED":
                some.set()

    reader = threading.Thread(target=read)
    reader.start()
    stage.dispatcher.run(unstreamed, limit=1)
    assert some.wait(60)  # before the run has ended
    stage.dispatcher.run(unstreamed)
    reader.join(60)

    assert not reader.is_alive()
    completed = [event for event in seen if event.event_type == "STEP_COMPLETED"]
    assert 3 == len(completed)
    assert isinstance(seen[-1], WorkflowCompleted)


def test_reader_that_comes_back_misses_nothing(stage: Stage, unstreamed: Engine) -> None:
    """Of an open run it gets everything again, of one that has ended what it lacks."""
    run_id = stage.submit(squares, {"size": 2}).id
    stage.dispatcher.run(unstreamed, limit=2)
    so_far = list(follow(unstreamed, run_id, wait=False))
    again = list(follow(unstreamed, run_id, after=so_far[-1].id, wait=False))
    assert len(so_far) > 3
    assert _facts(so_far) == _facts(again)

    stage.dispatcher.run(unstreamed)
    first = list(follow(unstreamed, run_id))

    assert first[4:] == list(follow(unstreamed, run_id, after=first[3].id))
    assert [] == list(follow(unstreamed, run_id, after=first[-1].id))


def test_waiting_for_an_end_reads_the_row_soon() -> None:
    """It returns early, and its caller looks again."""
    with UnstreamedEvents().listening(None) as wait:  # type: ignore[arg-type]  # it is not used
        for _ in range(3):
            wait(0.01)
