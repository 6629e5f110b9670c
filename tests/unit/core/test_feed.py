"""Each event is emitted once, also when it comes twice or late, and totals are right."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from flowq.core.events import (
    BatchCompleted,
    BatchStarted,
    BudgetWarning,
    Event,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StreamChunk,
    StreamEnded,
    StreamStarted,
    WorkflowCompleted,
    WorkflowStarted,
)
from flowq.core.feed import Feed
from flowq.core.ids import BatchId, RunId

RUN = RunId(UUID(int=7))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def made(kind: Any, **fields: Any) -> Any:
    return kind(run_id=RUN, timestamp=NOW, **fields)


def batch(name: str, *steps: str, items: int | None = None) -> Event:
    return made(BatchStarted, batch=BatchId(name), steps=steps, items=items)  # type: ignore[no-any-return]


def step(kind: Any, key: str, index: int | None = None, attempt: int = 1, **fields: Any) -> Event:
    return made(kind, step=key, index=index, attempt=attempt, **fields)  # type: ignore[no-any-return]


#: A run of two steps together, one that is put off once, a map of two, and one that is skipped;
#: and its budget warns twice.
RUN_EVENTS: list[Event] = [
    batch("n1", "a", "b"),
    step(StepStarted, "a"),
    step(StepStarted, "b"),
    step(StepRetrying, "b"),
    step(StepCompleted, "a"),
    step(StepStarted, "b", attempt=2),
    step(StepFailed, "b", attempt=2),
    batch("m1", "c", items=2),
    step(StepStarted, "c", 0),
    step(StepStarted, "c", 1),
    step(StepCompleted, "c", 0),
    step(StepFailed, "c", 1),
    step(StepCompleted, "c", None, 0, items=2),
    step(StepSkipped, "d", None, 0),
    *(made(BudgetWarning, budget_of="run", share=share, cost=1, tokens=9) for share in (0.8, 0.9)),
]


def emit(events: list[Event]) -> tuple[list[Event], Feed]:
    feed = Feed(RUN, {"a", "b", "c", "d"})
    return [emitted for event in events for emitted in feed.take(event)], feed


@given(st.lists(st.sampled_from(RUN_EVENTS), max_size=20), st.permutations(RUN_EVENTS))
def test_all_is_reported_once_in_any_order(twice: list[Event], order: list[Event]) -> None:
    emitted, feed = emit([*twice, *order])

    published = [event for event in emitted if not isinstance(event, BatchCompleted)]
    assert sorted(map(repr, published)) == sorted(map(repr, RUN_EVENTS))
    batches = {one.batch: one.steps for one in emitted if isinstance(one, BatchCompleted)}
    assert batches == {"n1": ("a", "b"), "m1": ("c",)}
    assert len([one for one in emitted if isinstance(one, BatchCompleted)]) == 2
    assert (feed.done, feed.total) == (5, 5)


def test_a_batch_says_how_many_have_failed() -> None:
    emitted, _ = emit(RUN_EVENTS)

    failed = {one.batch: one.failed for one in emitted if isinstance(one, BatchCompleted)}
    assert failed == {"n1": 1, "m1": 1}


def test_a_batch_follows_the_last_of_its_steps() -> None:
    emitted, _ = emit(RUN_EVENTS)

    place = next(n for n, one in enumerate(emitted) if isinstance(one, BatchCompleted))
    assert emitted[place - 1] == step(StepFailed, "b", attempt=2)


def test_a_batch_that_is_heard_of_late_ends_with_its_last_step() -> None:
    began, ended = (datetime(2026, 1, 1, 9, 0, second, tzinfo=UTC) for second in (0, 5))
    late = batch("n1", "a").model_copy(update={"timestamp": began})

    emitted, _ = emit([step(StepCompleted, "a").model_copy(update={"timestamp": ended}), late])

    assert [(type(one), one.timestamp) for one in emitted] == [
        (StepCompleted, ended),
        (BatchStarted, began),
        (BatchCompleted, ended),
    ]


def test_a_map_that_ends_early_ends_its_batch() -> None:
    """What is left of its items was cancelled, and cancelled steps emit nothing."""
    events = [
        batch("m1", "c", items=3),
        step(StepFailed, "c", 0),
        step(StepFailed, "c", None, 0, items=3),
    ]
    emitted, feed = emit(events)

    assert [type(one) for one in emitted] == [BatchStarted, StepFailed, StepFailed, BatchCompleted]
    assert (feed.done, feed.total) == (1, 6)


def test_a_map_without_items_is_no_step_run() -> None:
    _, feed = emit([step(StepCompleted, "c", None, 0, items=0)])

    assert (feed.done, feed.total) == (0, 3)


def test_progress_is_reported_when_there_is_some() -> None:
    feed = Feed(RUN, {"a", "b", "c", "d"})
    assert feed.progress(NOW) is None

    feed.take(step(StepCompleted, "a"))
    progress = feed.progress(NOW)
    assert progress is not None
    assert (progress.done, progress.total, progress.percentage) == (1, 4, 25.0)
    assert feed.progress(NOW) is None


def test_the_runs_own_events_are_the_readers_business() -> None:
    first = made(WorkflowStarted, flow_name="x", total_steps=4)
    assert emit([first, made(WorkflowCompleted, flow_name="x")])[0] == []


def text(kind: Any, attempt: int = 1, **fields: Any) -> Event:
    return step(kind, "a", attempt=attempt, stream=0, **fields)


def test_text_is_reported_once() -> None:
    events = [
        text(StreamStarted),
        text(StreamChunk, offset=0, text="one"),
        text(StreamChunk, offset=3, text="two"),
        text(StreamEnded, length=6),
        text(StreamStarted, attempt=2),
        text(StreamChunk, attempt=2, offset=0, text="again"),
    ]

    assert emit([*events, *events])[0] == events


def test_what_a_program_calls_is_counted() -> None:
    """It stands in no graph; a map's node never counts, a call that is awaited anew not twice."""
    events = [
        batch("c1", "work#1", "flowq.sleep#2"),
        batch("m2", "work#3", items=2),
        step(StepCompleted, "work#1"),
        batch("c3", "flowq.sleep#2"),
        step(StepCompleted, "flowq.sleep#2", attempt=0),
        step(StepCompleted, "work#4", None, 0, items=0),
    ]
    emitted, feed = emit(events)

    assert (feed.done, feed.total) == (2, 8)
    assert [one.batch for one in emitted if isinstance(one, BatchStarted)] == ["c1", "m2"]
    assert [one.batch for one in emitted if isinstance(one, BatchCompleted)] == ["c1"]
