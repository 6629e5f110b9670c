"""What clients of a document see of the events of its run."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.blocks.reports.frames import Frame, Translator
from flowq.blocks.reports.outline import Outline
from flowq.blocks.storage.external import Version
from flowq.blocks.storage.layout import Container
from flowq.blocks.storage.steps import _content_type
from flowq.core import events
from flowq.core.errors import ResultMissing
from flowq.core.events import Event
from flowq.core.ids import RunId

RUN = RunId(UUID("01a1fc9d-1e67-70ac-baf0-abf1d016a2cb"))
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
METADATA = {"resource_key": "ann/3/s.v", "content_type": "text"}


def document() -> dict[str, Any]:
    """`greet` and `split` begin, `pick` follows `split`; 1 and 2 are given."""

    def edge(source: str, target: str) -> dict[str, Any]:
        return {"type": "modify", "data": {"inputs": {source: "i"}, "outputs": {target: "o"}}}

    labels = {"1": "name", "2": "tags", "3": "hello", "4": "list", "5": "first"}
    return {
        "blocks": {
            key: {"label": label, "type": "text", "data": {"content": ""}}
            for key, label in labels.items()
        },
        "edges": {"greet": edge("1", "3"), "split": edge("2", "4"), "pick": edge("4", "5")},
    }


def returned(**contents: Any) -> dict[str, Any]:
    """Return what an edge returns that has set these blocks, named `b3`, `b4`, …"""
    outputs = {key[1:]: {"content": value} for key, value in contents.items()}
    return {"outputs": outputs, "set": list(outputs)}


RESULTS = {
    "greet": returned(b3="Hello Ada!"),
    "split": returned(b4=["red", "green", "blue"]),
    "pick": returned(b5="red"),
}


def at(number: int, kind: type[Event], **fields: Any) -> Event:
    """Return the event of a moment; its id says which."""
    moment = NOON + timedelta(seconds=number)
    known = {"run_id": RUN, "timestamp": moment, "id": f"{number}-0.0"}
    event: Event = kind.model_validate({**known, **fields})
    return event


def started() -> Event:
    return at(0, events.WorkflowStarted, id="start", flow_name="blocks", total_steps=3)


def completed(number: int, step: str) -> Event:
    return at(number, events.StepCompleted, step=step, attempt=1)


def ended(number: int = 9, kind: type[Event] = events.WorkflowCompleted, **fields: Any) -> Event:
    return at(number, kind, id="end", flow_name="blocks", **fields)


def play(
    history: Iterable[Event],
    results: Mapping[str, Any] = RESULTS,
    keys: Iterable[str] = ("greet", "split", "pick"),
    **options: Any,
) -> list[Frame]:
    outline = Outline.of(document(), set(keys))
    translator = Translator(outline, RUN, "ann", 1048576, results.__getitem__, **options)
    return [frame for event in history for frame in translator.take(event)]


def v1(frames: Iterable[Frame]) -> list[dict[str, Any]]:
    return [frame.v1 for frame in frames if frame.v1 is not None]


def kinds(frames: Iterable[Frame]) -> list[str]:
    return [frame.v2["event_type"] for frame in frames]


WHOLE = [
    started(),
    completed(1, "greet"),
    completed(2, "split"),
    completed(3, "pick"),
    ended(),
]


def test_the_frames_of_v1_are_those_of_the_levels() -> None:
    frames = v1(play(WHOLE))
    assert [
        {
            "data": {
                "data": {"3": "Hello Ada!", "4": ["red", "green", "blue"]},
                "is_complete": False,
                "yield_count": 2,
            },
            "is_complete": False,
            "yield_count": 1,
        },
        {
            "data": {"data": {"5": "red"}, "is_complete": False, "yield_count": 1},
            "is_complete": False,
            "yield_count": 2,
        },
        {
            "is_complete": True,
            "user_id": "ann",
            "total_yields": 2,
            "task_status": {
                "task_id": str(RUN),
                "status": "COMPLETED",
                "start_time": "2030-01-01T12:00:00+00:00",
                "end_time": "2030-01-01T12:00:09+00:00",
                "error_message": None,
                "total_blocks": 5,
                "processed_blocks": 5,
                "progress_percentage": 100.0,
            },
        },
    ] == frames


@given(st.permutations(["greet", "split", "pick"]))
def test_no_order_of_events_changes_v1(order: list[str]) -> None:
    """Bytes are compared: the order of keys counts too."""
    history = [started(), *(completed(3, step) for step in order), ended()]
    assert json.dumps(v1(play(WHOLE))) == json.dumps(v1(play(history)))


@given(st.permutations(["greet", "split", "pick"]))
def test_the_same_events_give_the_same_frames(order: list[str]) -> None:
    history = [started(), *(completed(3 + place, one) for place, one in enumerate(order)), ended()]
    assert play(history) == play(history)


def test_v2_reports_edges_at_once_and_levels_in_turn() -> None:
    frames = play([WHOLE[0], completed(1, "split"), completed(2, "pick"), completed(3, "greet")])
    assert [
        ("WORKFLOW_STARTED", None),
        ("EDGE_COMPLETED", "split"),
        ("BLOCK_UPDATED", "4"),
        ("EDGE_COMPLETED", "pick"),
        ("BLOCK_UPDATED", "5"),
        ("EDGE_COMPLETED", "greet"),
        ("BLOCK_UPDATED", "3"),
        ("BATCH_COMPLETED", ["greet", "split"]),
        ("PROGRESS_UPDATE", 2),
        ("BATCH_COMPLETED", ["pick"]),
        ("PROGRESS_UPDATE", 3),
    ] == [
        (
            one.v2["event_type"],
            one.v2.get("edge_id")
            or one.v2.get("block_id")
            or one.v2.get("edge_ids")
            or one.v2.get("progress", {}).get("edges", {}).get("completed"),
        )
        for one in frames
    ]


def test_each_event_of_v2_says_what_it_has_to() -> None:
    frames = play(WHOLE[:3])
    by_kind = {frame.v2["event_type"]: frame.v2 for frame in frames}
    known = {"task_id": str(RUN), "timestamp": "2030-01-01T12:00:02+00:00"}
    assert {
        "event_type": "WORKFLOW_STARTED",
        "env_id": str(RUN),
        "task_id": str(RUN),
        "timestamp": "2030-01-01T12:00:00+00:00",
        "total_blocks": 5,
        "total_edges": 3,
        "storage_threshold_bytes": 1048576,
    } == by_kind["WORKFLOW_STARTED"]
    assert {
        "event_type": "EDGE_COMPLETED",
        "edge_id": "split",
        "output_blocks": ["4"],
        **known,
    } == by_kind["EDGE_COMPLETED"]
    assert {
        "event_type": "BLOCK_UPDATED",
        "block_id": "4",
        "storage_class": "internal",
        "type": "text",
        "content": ["red", "green", "blue"],
        **known,
    } == by_kind["BLOCK_UPDATED"]
    assert {
        "event_type": "BATCH_COMPLETED",
        "edge_ids": ["greet", "split"],
        "output_blocks": ["3", "4"],
        **known,
    } == by_kind["BATCH_COMPLETED"]
    assert {
        "event_type": "PROGRESS_UPDATE",
        "env_id": str(RUN),
        "progress": {
            "edges": {"total": 3, "completed": 2, "processing": 0, "pending": 1},
            "blocks": {"total": 5, "processed": 4, "pending": 1},
            "completion_percentage": 66.67,
        },
        **known,
    } == by_kind["PROGRESS_UPDATE"]


def test_the_end_says_how_long_it_took() -> None:
    last = play(WHOLE)[-1]
    assert last.is_last
    assert {
        "event_type": "WORKFLOW_COMPLETED",
        "task_id": str(RUN),
        "timestamp": "2030-01-01T12:00:09+00:00",
        "env_id": str(RUN),
        "duration": 9.0,
        "total_blocks_processed": 5,
        "total_edges_completed": 3,
    } == last.v2


def test_what_is_written_in_an_older_way_is_a_warning() -> None:
    given = {**document(), "warnings": ["'then' is read as 'thens'"]}
    translator = Translator(
        Outline.of(given, {"greet", "split", "pick"}), RUN, "ann", 1, lambda key: RESULTS[key]
    )
    one, two = translator.take(started())
    assert ("WORKFLOW_STARTED", "WARNING", "'then' is read as 'thens'") == (
        one.v2["event_type"],
        two.v2["event_type"],
        two.v2["message"],
    )
    assert two.v1 is None


def test_attempts_are_reported() -> None:
    history = play(
        [
            at(1, events.StepStarted, step="greet", attempt=1),
            at(
                2,
                events.StepRetrying,
                step="greet",
                attempt=1,
                delay=1.5,
                error_type="Boom",
                error_message="no",
            ),
            at(3, events.StepStarted, step="greet", attempt=2),
            at(4, events.StepStarted, step="block:1", attempt=1),
        ]
    )
    assert ["EDGE_STARTED", "EDGE_RETRYING", "EDGE_STARTED"] == kinds(history)
    assert ("greet", "modify", 1) == tuple(
        history[0].v2[key] for key in ("edge_id", "edge_type", "attempt")
    )
    assert ("Boom", "no", 1.5) == tuple(
        history[1].v2[key] for key in ("error_type", "error_message", "delay")
    )
    assert 2 == history[2].v2["attempt"]


def test_a_looped_edge_is_reported_once() -> None:
    keys = {"greet::items", "greet", "greet::result", "split", "pick"}
    history = [
        at(1, events.StepStarted, step="greet::items", attempt=1),
        completed(2, "greet::items"),
        at(3, events.StepStarted, step="greet", index=0, attempt=1),
        at(4, events.StepCompleted, step="greet", index=0, attempt=1),
        at(5, events.StepCompleted, step="greet", items=1),
        at(6, events.StepStarted, step="greet::result", attempt=1),
        completed(7, "greet::result"),
    ]
    frames = play(history, {"greet::result": RESULTS["greet"]}, keys)
    assert ["EDGE_STARTED", "EDGE_COMPLETED", "BLOCK_UPDATED"] == kinds(frames)
    failing = [
        at(4, events.StepFailed, step="greet", index=0, attempt=1, error_message="no"),
        at(5, events.StepFailed, step="greet", error_message="no", items=1),
    ]
    assert ["EDGE_ERROR"] == kinds(play(failing, keys=keys))


def test_a_branch_that_is_not_taken_counts_and_reports_nothing() -> None:
    """`split` is a choice that has set nothing, and `pick` is skipped."""
    results = {**RESULTS, "split": {"outputs": {"4": {"content": ""}}, "set": []}}
    skipped = at(3, events.StepSkipped, step="pick")
    frames = play([*WHOLE[:3], skipped, ended()], results)
    assert [{"3": "Hello Ada!"}] == [one["data"]["data"] for one in v1(frames)[:-1]]
    assert "EDGE_SKIPPED" in kinds(frames)
    assert (1, 5) == (
        v1(frames)[-1]["total_yields"],
        v1(frames)[-1]["task_status"]["processed_blocks"],
    )
    assert 100.0 == frames[-2].v2["progress"]["completion_percentage"]


def test_a_merged_block_is_reported_when_its_merge_has_chosen() -> None:
    given = document()
    given["edges"]["pick"]["data"]["outputs"]["3"] = "hello"
    outline = Outline.of(given, {"greet", "split", "pick", "block:3"})
    results = {
        **RESULTS,
        "pick": returned(b5="red", b3="from pick"),
        "block:3": returned(b3="from pick"),
    }
    translator = Translator(outline, RUN, "ann", 1, results.__getitem__)
    history = [*WHOLE[:4], completed(4, "block:3"), ended()]
    frames = [frame for event in history for frame in translator.take(event)]
    assert [{"4": ["red", "green", "blue"]}, {"5": "red", "3": "from pick"}] == [
        one["data"]["data"] for one in v1(frames)[:-1]
    ]
    blocks = [one.v2["block_id"] for one in frames if one.v2["event_type"] == "BLOCK_UPDATED"]
    assert ["4", "5", "3"] == blocks


def test_an_external_block_is_reported_by_where_it_is() -> None:
    results = {
        **RESULTS,
        "pick": {"outputs": {"5": {"content": None, "external": METADATA}}, "set": ["5"]},
    }
    frames = play(WHOLE, results)
    external = {"storage_class": "external", "external_metadata": METADATA}
    assert {"5": external} == v1(frames)[1]["data"]["data"]
    updated = [one.v2 for one in frames if one.v2.get("block_id") == "5"]
    assert external.items() <= updated[0].items()


def test_a_result_that_is_missing_ends_the_frames() -> None:
    def load(key: str) -> dict[str, Any]:
        raise ResultMissing(f"{key} is gone")

    translator = Translator(Outline.of(document(), {"greet", "split", "pick"}), RUN, "ann", 1, load)
    frames = [frame for event in WHOLE for frame in translator.take(event)]
    assert ["WORKFLOW_STARTED", "ERROR"] == kinds(frames)
    assert frames[-1].is_last
    error = {"error": "greet is gone", "message": "Stream processing error", "is_complete": True}
    assert error == frames[-1].v1


def stream(kind: type[Event], step: str = "pick", **fields: Any) -> Event:
    return at(5, kind, step=step, attempt=1, stream=0, **fields)


@pytest.mark.parametrize("block_id", ["5", "a; b=c&d", "語"])
def test_storing_a_block_is_a_stream_of_the_block(block_id: str) -> None:
    version = Version(block_id, "ann/5/step.lease", Container.TEXT)
    begin = stream(events.StreamStarted, content_type=_content_type(version))
    good = stream(events.StreamEnded, length=0)
    bad = stream(events.StreamEnded, length=0, error_type="StoreUnavailable")
    one, two = play([begin, good])
    assert ("STREAM_STARTED", block_id, "lease", "text") == tuple(
        one.v2[key] for key in ("event_type", "block_id", "version_id", "content_type")
    )
    assert ("STREAM_ENDED", block_id, "ann/5/step.lease") == tuple(
        two.v2[key] for key in ("event_type", "block_id", "resource_key")
    )
    two = play([begin, bad])[1]
    assert ("STREAM_ERROR", block_id, "StoreUnavailable") == tuple(
        two.v2[key] for key in ("event_type", "block_id", "error")
    )


def test_the_text_of_an_edge_is_reported_as_it_comes() -> None:
    frames = play(
        [
            stream(events.StreamStarted),
            stream(events.StreamChunk, offset=0, text="Hi"),
            stream(events.StreamEnded, length=2),
            stream(events.StreamStarted, step="of no edge"),
        ]
    )
    assert ["STREAM_STARTED", "STREAM_CHUNK", "STREAM_ENDED"] == kinds(frames)
    assert all(frame.v2["edge_id"] == "pick" for frame in frames)
    assert ("Hi", 0) == (frames[1].v2["text"], frames[1].v2["offset"])


def test_a_failed_run_reports_the_levels_before_and_its_error() -> None:
    text = "[PUPPYENGINE_ERROR_3802]: Error Converting Block Content!\nCause: no list"
    history = [
        *WHOLE[:3],
        at(4, events.StepFailed, step="pick", attempt=1, error_type="X", error_message=text),
        ended(kind=events.WorkflowError, error_message=f"step 'pick' failed: {text}"),
    ]
    frames = play(history)
    error = {"error": text, "message": "Task execution failed", "is_complete": True}
    assert [1, error] == [v1(frames)[0]["yield_count"], v1(frames)[1]]
    assert ["EDGE_ERROR", "WORKFLOW_ERROR"] == kinds(frames)[-2:]
    assert text == frames[-2].v2["error_message"] == frames[-1].v2["error"]


def test_a_cancelled_run_has_failed_for_v1_alone() -> None:
    last = play([started(), ended(kind=events.WorkflowCancelled, reason="too slow")])[-1]
    assert ("WORKFLOW_CANCELLED", "too slow") == (last.v2["event_type"], last.v2["reason"])
    assert last.v1 is not None
    assert "cancelled: too slow" == last.v1["error"]


def test_frames_have_whole_blocks_when_asked_for() -> None:
    frames = v1(play(WHOLE, with_blocks=True))
    assert {"label": "first", "type": "text", "data": {"content": "red"}} == frames[1]["data"]["5"]
    assert {"5": "red"} == frames[1]["data"]["data"]


def test_engine_events_that_mean_nothing_here_tell_nothing() -> None:
    assert [] == play(
        [
            at(1, events.ProgressUpdate, done=1, total=3, percentage=33.3),
            at(1, events.BatchStarted, batch="b", steps=["greet"]),
            at(1, events.BatchCompleted, batch="b", steps=["greet"]),
        ]
    )


# --- ids -----------------------------------------------------------------------------------------


def test_ids_are_those_of_the_events_and_never_come_twice() -> None:
    rebuilt = [completed(1, "greet"), completed(1, "split")]  # made from rows: of one id
    frames = play([started(), *rebuilt, ended()])
    assert [
        "start",
        *("1-0.0", "1-0.0+1", "1-0.0+2", "1-0.0+3", "1-0.0+4", "1-0.0+5"),
        "end",
    ] == [frame.id for frame in frames]


def test_event_that_comes_twice_is_reported_once() -> None:
    assert v1(play(WHOLE)) == v1(play([*WHOLE[:3], *WHOLE[1:3], *WHOLE[3:]]))
