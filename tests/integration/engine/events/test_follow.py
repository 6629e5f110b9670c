"""What a run tells those who look on, on the real engine: live, from where they left, and later."""

# ruff: noqa: FBT001 - the inputs of a flow are its parameters

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

import flowq
from flowq import RetryPolicy, Run, errors, flow, step
from flowq.adapters.events.memory import MemoryEvents
from flowq.adapters.records.database import SqlRecords
from flowq.core.events import (
    BatchCompleted,
    Event,
    ProgressUpdate,
    StepCompleted,
    StepFailed,
    StreamChunk,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowError,
    from_json,
    to_json,
)
from flowq.core.ids import RunId
from flowq.engine.engine import Policies
from flowq.engine.events.follow import follow
from flowq.engine.ports import StreamPage
from flowq.engine.runs.cancel import cancel
from tests.tools.live_pages import shown_anew, shown_live
from tests.tools.playing import Played, Stage
from tests.tools.waiting import wait_until


@step
def square(value: int) -> int:
    return value * value


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def both(left: int, right: int) -> int:
    return left + right


@step
def count_to(size: int) -> list[int]:
    return list(range(size))


@step
def fail(value: int) -> int:
    raise ValueError(f"bad {value}")


@step
def fail_on(value: int, bad: int) -> int:
    if value == bad:
        raise ValueError(f"bad {value}")
    return value


@step(retry=RetryPolicy(max_attempts=3, initial_delay=timedelta(0)))
def fail_twice(value: int) -> int:
    if step.context().attempt < 3:
        raise ValueError("not yet")
    return value


@step
def speak(text: str) -> str:
    with step.context().stream.open("text/markdown") as out:
        for word in text.split():
            out.write(f"{word} ")
    return text


@step
async def speak_async(text: str) -> str:
    with step.context().stream.open() as out:
        out.write(text)
    return text


@step
def stammer(text: str) -> str:
    with step.context().stream.open() as out:
        out.write(text)
        raise ValueError("no more breath")


@flow
def chain(value: int) -> int:
    return square(square(value))


@flow
def diamond(value: int) -> int:
    first = square.options(key="first")(value)
    left, right = square.options(key="left")(first), square.options(key="right")(first)
    return both(left, right)


@flow
def mapped(size: int) -> int:
    return total(square.map(count_to(size)))


@flow
def tolerant(size: int, bad: int) -> Any:
    return fail_on.options(tolerate=1).map(count_to(size), bad=bad)


@flow
def failing(value: int) -> int:
    return square.options(key="after")(fail(square(value)))


@flow
def retried(value: int) -> int:
    return fail_twice(value)


@flow
def choosy(value: int) -> Any:
    first = square(value)
    return square.options(key="large", when=first > 10)(first)


@flow
def outer(value: int) -> int:
    return square(chain(value))


@flow
def speaking(text: str) -> str:
    return speak(text)


@flow
def speaking_async(text: str) -> Any:
    return speak_async(text)


@flow
def stammering(text: str) -> str:
    return stammer(text)


#: In programs they are awaited, which their types say only of `async def` steps.
called: Any = square
called_total: Any = total
called_fail: Any = fail
called_chain: Any = chain


@flow
async def program(count: int) -> int:
    values = await asyncio.gather(*(called(number) for number in range(count)))
    await flowq.sleep(timedelta(0))
    more = await called.map(values)
    none = await called.map([])
    return int(await called_total([*more, *none]))


@flow
async def mending(value: int) -> int:
    try:
        return int(await called_fail(value))
    except errors.StepFailed:
        return int(await called_chain(value))


FLOWS: list[tuple[Any, dict[str, Any]]] = [
    (chain, {"value": 3}),
    (diamond, {"value": 2}),
    (mapped, {"size": 12}),
    (mapped, {"size": 0}),
    (tolerant, {"size": 5, "bad": 2}),
    (failing, {"value": 2}),
    (retried, {"value": 2}),
    (choosy, {"value": 2}),
    (choosy, {"value": 9}),
    (outer, {"value": 2}),
    (speaking, {"text": "what can be said"}),
    (program, {"count": 3}),
    (mending, {"value": 2}),
]


def events_of(played: Played, after: str | None = None) -> list[Event]:
    return list(follow(played.stage.engine, played.id, after=after, timeout=60))


def as_lines(events: list[Event]) -> list[str]:
    """What events say, short: the type and the step."""
    return [f"{event.event_type} {_where(event)}".strip() for event in events]


def _where(event: Event) -> str:
    index = getattr(event, "index", None)
    of_item = "" if index is None else f"[{index}]"
    steps: tuple[str, ...] = getattr(event, "steps", ())
    step_key: str = getattr(event, "step", "")
    return "+".join(steps) or step_key + of_item


def lose(stage: Stage) -> None:
    assert isinstance(stage.engine.events, MemoryEvents)
    stage.engine.events.forget()


def test_a_chain_emits_all_events_in_order(stage: Stage) -> None:
    assert as_lines(events_of(stage.play(chain, value=3))) == [
        "WORKFLOW_STARTED",
        "BATCH_STARTED square",
        "STEP_STARTED square",
        "STEP_COMPLETED square",
        "BATCH_COMPLETED square",
        "PROGRESS_UPDATE",
        "BATCH_STARTED square-2",
        "STEP_STARTED square-2",
        "STEP_COMPLETED square-2",
        "BATCH_COMPLETED square-2",
        "PROGRESS_UPDATE",
        "WORKFLOW_COMPLETED",
    ]


@pytest.mark.parametrize("which, inputs", FLOWS)
def test_progress_ends_with_what_the_row_says(
    stage: Stage, which: Any, inputs: dict[str, Any]
) -> None:
    played = stage.play(which, **inputs)
    progress = [event for event in events_of(played) if isinstance(event, ProgressUpdate)]

    last = progress[-1]
    assert (last.done, last.total) == (played.view.done, played.view.total)
    assert [event.done for event in progress] == sorted({event.done for event in progress})


@pytest.mark.parametrize("which, inputs", FLOWS)
def test_rows_tell_the_same_ends_as_the_stream(
    stage: Stage, which: Any, inputs: dict[str, Any]
) -> None:
    """Of attempts that were put off, and of text, rows know nothing; of all else they know all."""
    played = stage.play(which, **inputs)
    kinds = ["WORKFLOW", "STEP_COMPLETED", "STEP_FAILED", "STEP_SKIPPED", "BATCH"]

    def ends(events: list[Event]) -> list[str]:
        return sorted(text for text in as_lines(events) if any(kind in text for kind in kinds))

    live = events_of(played)
    lose(stage)
    later = events_of(played)

    assert ends(live) == ends(later)
    assert not any(event.rebuilt for event in live)
    assert all(event.rebuilt for event in later[1:-1])


@pytest.mark.parametrize("which, inputs", FLOWS)
@pytest.mark.parametrize("lost", [False, True])
def test_live_page_shows_what_a_reload_would_show(
    stage: Stage, which: Any, inputs: dict[str, Any], lost: bool
) -> None:
    played = stage.play(which, **inputs)
    if lost:
        lose(stage)

    assert shown_live(events_of(played)) == shown_anew(played.view)


@pytest.mark.parametrize("which, inputs", FLOWS)
def test_ends_of_steps_say_what_their_rows_say(
    stage: Stage, which: Any, inputs: dict[str, Any]
) -> None:
    played = stage.play(which, **inputs)
    marks = stage.records.autocommit(lambda tx: tx.steps.step_progress(played.id))
    rows = {(mark.key, mark.map_index): mark.execution_time_ms for mark in marks}

    for event in events_of(played):
        if isinstance(event, StepCompleted | StepFailed) and event.execution_time_ms is not None:
            assert event.execution_time_ms == rows[event.step, event.index]


@pytest.mark.parametrize("which, inputs", FLOWS)
@pytest.mark.parametrize("lost", [False, True])
def test_a_reader_continues_after_any_event(
    stage: Stage, which: Any, inputs: dict[str, Any], lost: bool
) -> None:
    played = stage.play(which, **inputs)
    if lost:
        lose(stage)
    events = events_of(played)

    for number, event in enumerate(events[:-1]):
        following = [one for one in events[number + 1 :] if one.id != event.id]
        assert as_lines(events_of(played, after=event.id)) == as_lines(following)
    assert events_of(played, after=events[-1].id) == []


def test_batches_complete_when_all_of_their_steps_have_ended(stage: Stage) -> None:
    events = events_of(stage.play(diamond, value=2))

    assert [one.steps for one in events if isinstance(one, BatchCompleted)] == [
        ("first",),
        ("left", "right"),
        ("both",),
    ]
    names = as_lines(events)
    assert names.index("BATCH_COMPLETED left+right") > names.index("STEP_COMPLETED left")
    assert names.index("BATCH_COMPLETED left+right") > names.index("STEP_COMPLETED right")


def test_a_map_emits_events_of_each_item(stage: Stage) -> None:
    events = events_of(stage.play(tolerant, size=5, bad=2))

    ends = [one for one in events if isinstance(one, StepCompleted | StepFailed)]
    items = {
        one.index: type(one) for one in ends if one.step == "fail_on" and one.index is not None
    }
    assert items == {index: StepFailed if index == 2 else StepCompleted for index in range(5)}
    assert [one.items for one in ends if one.step == "fail_on" and one.index is None] == [5]
    batch = next(one for one in events if isinstance(one, BatchCompleted) and one.items)
    assert (batch.steps, batch.items, batch.failed) == (("fail_on",), 5, 1)


def test_a_failed_run_says_why_in_its_last_event(stage: Stage) -> None:
    events = events_of(stage.play(failing, value=2))

    failed = next(one for one in events if isinstance(one, StepFailed))
    assert (failed.error_type, failed.error_message) == ("ValueError", "bad 4")
    last = events[-1]
    assert isinstance(last, WorkflowError)
    assert last.error_message == "step 'fail' failed: bad 4"


def test_each_attempt_is_reported(stage: Stage) -> None:
    names = as_lines(events_of(stage.play(retried, value=1)))

    assert [name.partition(" ")[0] for name in names if "fail_twice" in name] == [
        "BATCH_STARTED",
        "STEP_STARTED",
        "STEP_RETRYING",
        "STEP_STARTED",
        "STEP_RETRYING",
        "STEP_STARTED",
        "STEP_COMPLETED",
        "BATCH_COMPLETED",
    ]


def test_a_step_that_is_skipped_says_so(stage: Stage) -> None:
    assert "STEP_SKIPPED large" in as_lines(events_of(stage.play(choosy, value=2)))


def test_a_cancelled_run_gives_its_reason(stage: Stage) -> None:
    played = stage.submit(chain, {"value": 3})
    cancel(stage.engine, played.id, "by hand")

    last = events_of(played)[-1]
    assert isinstance(last, WorkflowCancelled)
    assert last.reason is not None
    assert "by hand" in last.reason


def test_the_last_event_has_the_totals_of_the_row(stage: Stage) -> None:
    played = stage.play(chain, value=3)

    last = events_of(played)[-1]
    assert isinstance(last, WorkflowCompleted)
    assert last.timestamp == played.view.completed_at
    assert last.execution_time_ms == played.view.execution_time_ms


@pytest.mark.parametrize("which", [speaking, speaking_async])
def test_text_comes_in_pieces_that_fit_together(stage: Stage, which: Any) -> None:
    events = events_of(stage.play(which, text="some words"))

    pieces = [one for one in events if isinstance(one, StreamChunk)]
    text = "".join(piece.text for piece in pieces)
    assert text.strip() == "some words"
    assert [piece.offset for piece in pieces] == [
        sum(len(one.text) for one in pieces[:number]) for number in range(len(pieces))
    ]
    ended = next(one for one in events if one.event_type == "STREAM_ENDED")
    assert (ended.length, ended.error_type) == (len(text), None)


def test_text_that_breaks_off_says_so(stage: Stage) -> None:
    events = events_of(stage.play(stammering, text="I sh"))

    ended = next(one for one in events if one.event_type == "STREAM_ENDED")
    assert (ended.length, ended.error_type) == (4, "ValueError")


@pytest.mark.parametrize("which, inputs", FLOWS)
def test_events_survive_json(stage: Stage, which: Any, inputs: dict[str, Any]) -> None:
    events = events_of(stage.play(which, **inputs))

    assert [from_json(to_json(event)) for event in events] == events


def test_a_run_without_events_is_rebuilt_from_its_rows(records: SqlRecords) -> None:
    stage = Stage.on(records, policies=Policies(events=False))
    played = stage.play(chain, value=3)

    assert [entry.events for entry in stage.engine.events.read(played.id).entries] != []
    assert as_lines(events_of(played))[-1] == "WORKFLOW_COMPLETED"
    assert "STEP_COMPLETED square-2" in as_lines(events_of(played))
    assert as_lines(events_of(stage.play(speaking, text="hush"))).count("STREAM_STARTED speak") == 0


# --- while it goes on ----------------------------------------------------------------------------


def test_a_reader_receives_events_while_it_waits(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A reader that is stopped for a while looks at the rows, which know of no order.
    monkeypatch.setattr("flowq.engine.events.follow._SILENCE", (600.0, 600.0))
    played = stage.submit(diamond, {"value": 2})
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(events_of, played)
        stage.dispatcher.run(stage.engine)

        assert as_lines(heard.result(60)) == as_lines(events_of(played))


def test_a_reader_of_a_lost_stream_continues(stage: Stage) -> None:
    """Events are not repeated, and later ones include all missing ones."""
    played = stage.submit(chain, {"value": 3})
    reader = follow(stage.engine, played.id, timeout=60)
    first = [next(reader), next(reader)]
    lose(stage)
    stage.dispatcher.run(stage.engine)
    lose(stage)
    rest = list(reader)

    assert as_lines(first) == ["WORKFLOW_STARTED", "BATCH_STARTED square"]
    names = as_lines(first + rest)
    assert len(set(names) - {"PROGRESS_UPDATE"}) == len(names) - names.count("PROGRESS_UPDATE")
    assert {"STEP_COMPLETED square", "STEP_COMPLETED square-2"} <= set(names)
    assert names[-1] == "WORKFLOW_COMPLETED"


def test_a_reader_that_comes_back_to_a_lost_stream_begins_anew(stage: Stage) -> None:
    played = stage.submit(chain, {"value": 3})
    reader = follow(stage.engine, played.id)
    next(reader)
    left = next(reader).id
    lose(stage)

    again = list(follow(stage.engine, played.id, after=left, wait=False))
    assert as_lines(again)[:2] == ["WORKFLOW_STARTED", "BATCH_STARTED square"]
    assert again[1].rebuilt


def test_a_reader_sees_the_end_of_a_run_without_an_event(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that ended it was killed before it could."""
    monkeypatch.setattr("flowq.engine.events.follow._SILENCE", (0.05, 0.1))
    played = stage.submit(chain, {"value": 3})
    monkeypatch.setattr(stage.engine.events, "publish", lambda *_, **__: None)
    reader = follow(stage.engine, played.id, timeout=60)
    assert next(reader).event_type == "WORKFLOW_STARTED"
    stage.dispatcher.run(stage.engine)

    assert as_lines(list(reader))[-1] == "WORKFLOW_COMPLETED"


def test_the_first_event_waits_for_no_stream(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a new run comes late: its events leave their process together, a moment later."""
    played = stage.submit(chain, {"value": 3})
    waited: list[object] = []
    monkeypatch.setattr(stage.engine.events, "read", lambda *args: waited.append(args))

    assert "WORKFLOW_STARTED" == next(follow(stage.engine, played.id)).event_type
    assert [] == waited


def test_a_reader_lives_through_a_redis_that_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowq.engine.events.follow._AWAY", (0.01, 0.1))
    played = stage.submit(chain, {"value": 3})

    def away(run_id: RunId, after: str | None = None, wait: float = 0) -> StreamPage:
        raise errors.RedisUnavailable("gone")

    monkeypatch.setattr(stage.engine.events, "read", away)
    reader = follow(stage.engine, played.id, timeout=60)
    assert next(reader).event_type == "WORKFLOW_STARTED"
    stage.dispatcher.run(stage.engine)
    names = as_lines(list(reader))

    assert names[-1] == "WORKFLOW_COMPLETED"
    assert {"STEP_COMPLETED square", "STEP_COMPLETED square-2"} <= set(names)


def test_a_reader_that_waits_too_long_gets_an_error(stage: Stage) -> None:
    played = stage.submit(chain, {"value": 3})

    with pytest.raises(errors.ResultTimeout, match=r"is not finished after 0\.2 s"):
        list(follow(stage.engine, played.id, timeout=0.2))


def test_a_reader_may_leave(stage: Stage) -> None:
    played = stage.submit(chain, {"value": 3})
    leaving = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(lambda: list(follow(stage.engine, played.id, stopped=leaving.is_set)))
        leaving.set()

        assert as_lines(heard.result(60))[0] == "WORKFLOW_STARTED"


# --- the handle ----------------------------------------------------------------------------------


@pytest.fixture
def handled(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The stage, as the engine of this process."""
    monkeypatch.setattr("flowq.bootstrap.engine", lambda: stage.engine)
    return stage


def test_async_code_gets_the_same_events(handled: Stage) -> None:
    played = handled.play(mapped, size=12)
    run: Run[int] = Run(played.id, "mapped")

    async def listen() -> list[Event]:
        return [event async for event in run.events(timeout=60)]

    assert asyncio.run(listen()) == list(run.events())


def test_async_code_receives_events_while_it_waits(handled: Stage) -> None:
    played = handled.submit(chain, {"value": 3})

    async def listen() -> list[Event]:
        events: list[Event] = []
        async for event in Run(played.id, "chain").events(timeout=60):
            if not events:
                playing = asyncio.to_thread(handled.dispatcher.run, handled.engine)
                task = asyncio.create_task(playing)
            events.append(event)
        await task
        return events

    assert as_lines(asyncio.run(listen()))[-1] == "WORKFLOW_COMPLETED"


def test_async_code_that_leaves_ends_its_reader(handled: Stage) -> None:
    played = handled.submit(chain, {"value": 3})

    async def leave() -> None:
        events = aiter(Run(played.id, "chain").events())
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())

    def readers() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name == "flowq-reader"]

    wait_until(lambda: not readers(), what="the reader's thread has ended")


def test_async_code_gets_errors(handled: Stage) -> None:
    played = handled.submit(chain, {"value": 3})

    async def listen() -> None:
        async for _ in Run(played.id, "chain").events(timeout=0.1):
            pass

    with pytest.raises(errors.ResultTimeout):
        asyncio.run(listen())


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["", "x", "0", "1-1", "end.", "end.x", "-1-1.1", "1-1.1.1.1"])
def test_what_is_no_id_is_refused(stage: Stage, after: str) -> None:
    played = stage.play(chain, value=3)

    with pytest.raises(errors.InvalidInput, match="is not the id of an event"):
        events_of(played, after=after)


@pytest.mark.parametrize("after", ["99999999999999-0.1", "1-1.0", "end.77"])
def test_an_id_of_another_run_begins_anew(stage: Stage, after: str) -> None:
    played = stage.play(chain, value=3)
    names = as_lines(events_of(played, after=after))

    assert names[0] == "WORKFLOW_STARTED"
    assert names[-1] == "WORKFLOW_COMPLETED"


def test_a_run_that_is_not_there_is_refused(stage: Stage) -> None:
    with pytest.raises(errors.RunNotFound):
        next(follow(stage.engine, RunId(uuid.uuid4())))
