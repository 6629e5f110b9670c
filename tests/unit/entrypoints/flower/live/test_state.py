"""What a live page receives: all that it has not seen, and nothing twice."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from flowq.core.events import (
    BatchStarted,
    Event,
    ProgressUpdate,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepStarted,
    StreamChunk,
    WorkflowCompleted,
    WorkflowStarted,
)
from flowq.core.ids import BatchId, RunId
from flowq.core.states import RunState
from flowq.core.usage import Usage
from flowq.entrypoints.flower.live.state import ChangeLog, Delta, RunProjection

RUN = RunId(uuid4())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHERE = {"run_id": RUN, "timestamp": NOW}


def delta_of(*events: Event, shows_content: bool = False) -> Delta:
    board = RunProjection(shows_content)
    for event in events:
        board.take(event)
    return board.changes.since("")


def test_page_receives_only_what_changed_after_what_it_has_seen() -> None:
    board = ChangeLog()
    board.put("steps", "a", {"status": "running"})
    board.put("steps", "b", {"status": "queued"})
    seen = board.since("")
    assert [{"status": "running"}, {"status": "queued"}] == seen.lines["steps"]
    assert not board.since(seen.id)

    assert not board.put("steps", "b", {"status": "queued"})  # that is no change
    assert board.put("steps", "a", {"status": "completed"})

    later = board.since(seen.id)
    assert {"steps": [{"status": "completed"}]} == later.lines
    assert not board.since(later.id)


def test_page_that_was_away_receives_the_state_not_the_history() -> None:
    board = ChangeLog()
    for number in range(1000):
        board.put("steps", "a", {"done": number})

    assert [{"done": 999}] == board.since("").lines["steps"]


@pytest.mark.parametrize("seen", ["", "nonsense", "other-3", "-", "other-", "ä-²"])
def test_place_in_another_live_run_means_nothing(seen: str) -> None:
    board = ChangeLog()
    board.put("run", "", {"done": 1})

    assert {"run": [{"done": 1}]} == board.since(seen).lines


def test_too_many_changes_are_not_listed() -> None:
    board = ChangeLog()
    board.put("run", "", {"done": 1})
    for number in range(401):
        board.put("steps", str(number), {"status": "running"})

    news = board.since("")
    assert (True, {"run": [{"done": 1}]}) == (news.reload, news.lines)
    assert '"reload":true' in news.sse()
    assert not board.since(news.id)


def test_message_is_one_line_of_json_and_where_to_continue() -> None:
    board = ChangeLog()
    board.put("run", "", {"cost": Decimal("0.5"), "since": NOW, "text": "a\nb", "ms": None})

    identity, data, *rest = board.since("").sse().split("\n")
    assert ["", ""] == rest
    assert identity == f"id: {board.since('').id}"
    line = {"cost": 0.5, "since": "2026-01-01T00:00:00+00:00", "text": "a\nb"}
    assert {"run": [line]} == json.loads(data.removeprefix("data: "))


def test_run_is_followed_from_its_first_event_to_its_last() -> None:
    board = RunProjection()
    board.take(WorkflowStarted(**WHERE, flow_name="f", total_steps=2))
    board.take(StepCompleted(**WHERE, step="a", attempt=1, tokens=3, cost=Decimal("0.1")))
    board.take(ProgressUpdate(**WHERE, done=1, total=2, percentage=50))
    (line,) = board.changes.since("").lines["run"]
    assert "status" not in line, "only its row knows whether it is paused"
    assert (1, 2, False) == tuple(line[n] for n in ("done", "total", "ended"))
    assert (3, 0.1) == (line["tokens"], line["cost"])

    board.take(
        WorkflowCompleted(
            **WHERE, flow_name="f", execution_time_ms=5, total_tokens=4, total_cost=Decimal(1)
        )
    )
    (line,) = board.changes.since("").lines["run"]
    assert ("completed", 5, 4, 1.0, True) == tuple(
        line[n] for n in ("status", "ms", "tokens", "cost", "ended")
    )
    assert board.ended


def test_row_shows_that_a_run_is_paused_but_not_that_it_has_ended() -> None:
    board = RunProjection()
    board.take(WorkflowStarted(**WHERE, flow_name="f", total_steps=2))

    assert board.set_status(RunState.PAUSED)
    assert not board.set_status(RunState.PAUSED)
    assert not board.set_status(RunState.COMPLETED)  # its last events are on their way
    assert "paused" == board.changes.since("").lines["run"][0]["status"]


def test_row_has_the_steps_of_a_map_before_an_event_counts_them() -> None:
    board = RunProjection()
    board.take(WorkflowStarted(**WHERE, flow_name="f", total_steps=3))

    def total() -> int:
        return int(board.changes.since("").lines["run"][0]["total"])

    assert board.set_status(RunState.PAUSED, total=3002)
    assert total() == 3002
    board.take(
        ProgressUpdate(**WHERE, done=1, total=3, percentage=33)
    )  # from before the map was expanded
    assert total() == 3002


def test_run_has_used_what_its_rows_say_or_events_since_then() -> None:
    board = RunProjection()
    board.take(WorkflowStarted(**WHERE, flow_name="f", total_steps=2))

    def used() -> tuple[int, float, int]:
        (line,) = board.changes.since("").lines["run"]
        return line["tokens"], line["cost"], line["unpriced"]

    assert board.set_status(RunState.RUNNING, Usage(5, Decimal("0.5"), 1))
    assert used() == (5, 0.5, 1)
    # The rows had counted a part of this already.
    board.take(StepCompleted(**WHERE, step="a", attempt=1, tokens=7, cost=Decimal(1)))
    assert used() == (7, 1.0, 1)
    board.set_status(RunState.RUNNING, Usage(9, Decimal(2), 0))
    assert used() == (9, 2.0, 0)


def test_step_has_used_what_its_last_event_says_of_all_its_attempts() -> None:
    spent = {"tokens": 3, "cost": Decimal("0.5"), "unpriced_calls": 1}
    put_off = StepRetrying(**WHERE, step="a", attempt=1, **spent)
    done = StepCompleted(**WHERE, step="a", attempt=2, **(spent | {"tokens": 4}))

    news = delta_of(WorkflowStarted(**WHERE, flow_name="f", total_steps=1), put_off, done, done)

    for line in (*news.lines["steps"], *news.lines["run"]):
        assert (4, 0.5, 1) == (line["tokens"], line["cost"], line["unpriced"])


def test_line_of_a_step_has_its_attempt_and_its_cost() -> None:
    first = StepStarted(**WHERE, step="a", attempt=1)
    why = {"error_type": "OSError", "error_message": "secret"}
    put_off = StepRetrying(**WHERE, **why, step="a", attempt=1)
    (line,) = delta_of(first, put_off).lines["steps"]
    assert ("retrying", 1, "OSError") == (line["status"], line["attempt"], line["error"])
    assert "secret" not in str(line)

    second = StepStarted(**WHERE, step="a", attempt=2)
    done = StepCompleted(**WHERE, step="a", attempt=2, tokens=3, cost=Decimal("0.5"))
    (line,) = delta_of(first, put_off, second, done).lines["steps"]
    assert ("completed", 2, 3, 0.5) == tuple(
        line[name] for name in ("status", "attempt", "tokens", "cost")
    )
    assert "error" not in line


def test_items_of_a_map_are_counted_not_listed() -> None:
    events: list[Event] = [
        BatchStarted(**WHERE, batch=BatchId("m" + RUN.hex), steps=("m",), items=3),
        StepStarted(**WHERE, step="m", index=0, attempt=1),
        StepCompleted(**WHERE, step="m", index=0, attempt=1, tokens=2),
        StepCompleted(**WHERE, step="m", index=1, attempt=2, tokens=2),
        StepFailed(**WHERE, step="m", index=2, attempt=1),
    ]
    (line,) = delta_of(*events).lines["steps"]
    assert (3, 3, 1, 4, 2) == tuple(
        line[name] for name in ("items", "done", "failed", "tokens", "attempt")
    )
    assert "running" == line["status"]


@pytest.mark.parametrize("shown", [False, True])
def test_streamed_text_is_sent_only_where_content_is_shown(*, shown: bool) -> None:
    board = RunProjection(shown)
    board.take(StepStarted(**WHERE, step="a", attempt=1))
    seen = board.changes.since("").id
    board.take(StreamChunk(**WHERE, step="a", attempt=1, stream=0, offset=0, text="hello"))

    assert shown == ("hello" in board.changes.since(seen).sse())
