"""A run as it is shown while it goes on."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState
from flowq.engine.model.rows import RunView, StepView
from flowq.entrypoints.cli.display.live import Lines, Redrawn, fitting, items, remark

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
S = StepState


def a_step(key: str = "measure", status: StepState = S.RUNNING, **changed: Any) -> StepView:
    facts: dict[str, Any] = dict(
        key=key,
        name=f"flows.{key}",
        order=1,
        status=status,
        map_size=None,
        counts={status: 1},
        attempts=1,
        recoveries=0,
        started_at=BEGIN,
        completed_at=BEGIN + timedelta(seconds=2),
        execution_time_ms=2000,
        tokens=0,
        cost=Decimal(0),
        worker=None,
        error_type=None,
        error_message=None,
        metadata={},
        inputs={},
    )
    return StepView(**{**facts, **changed})


def a_map(done: int, total: int, failed: int = 0) -> StepView:
    status = S.RUNNING if done + failed < total else S.COMPLETED
    counts = {S.COMPLETED: done, S.FAILED: failed, S.QUEUED: total - done - failed}
    return a_step(status=status, map_size=total, counts=counts)


def a_run(*steps: StepView, status: RunState = RunState.RUNNING) -> RunView:
    return RunView(
        id=RunId(UUID(int=7)),
        flow_name="flows.flow",
        status=status,
        user_id=None,
        parent=None,
        created_at=BEGIN,
        started_at=BEGIN,
        completed_at=BEGIN + timedelta(seconds=3),
        execution_time_ms=3000,
        total=sum(step.total for step in steps),
        done=sum(step.done for step in steps),
        tokens=0,
        cost=Decimal(0),
        inputs={},
        outputs=None,
        error=None,
        steps=steps,
    )


def shown(*views: RunView, said: str | None = None) -> list[str]:
    """Return the lines that a log gets from these looks."""
    file = io.StringIO()
    lines = Lines(Console(file=file, width=200, color_system=None))
    for view in views:
        lines.update(view, said)
    return file.getvalue().splitlines()


def test_log_has_one_line_for_each_change() -> None:
    running, done = a_step(), a_step(status=S.COMPLETED)

    lines = shown(a_run(running), a_run(running), a_run(done, status=RunState.COMPLETED))

    assert [
        "● measure  running  2.0 s",
        "✓ measure  completed  2.0 s",
        "✓ completed  1 of 1 steps  3.0 s",
    ] == lines


def test_log_of_a_map_has_one_line_for_each_tenth() -> None:
    lines = shown(*(a_run(a_map(done, 1_000)) for done in range(0, 1_001, 5)))

    assert 11 == len(lines)
    assert "● measure  running  100 of 1,000  2.0 s" == lines[1]


def test_log_says_once_that_a_map_has_failed() -> None:
    failed = [replace(a_map(done, 30), status=S.FAILED) for done in (5, 6, 30)]

    lines = shown(*(a_run(one) for one in failed))

    assert ["✗ measure  failed  5 of 30  2.0 s"] == lines


def test_log_leaves_out_what_has_not_begun() -> None:
    assert [] == shown(a_run(a_step(status=S.PENDING)))


def test_log_says_why_a_step_is_tried_again() -> None:
    step = a_step(
        status=S.RETRYING, attempts=2, error_type="ValueError", error_message="no\nand more"
    )

    assert ["↻ measure  retrying  attempt 2  2.0 s  ValueError: no"] == shown(a_run(step))


def test_remark_is_made_once() -> None:
    view = a_run(a_step())

    assert ["● measure  running  2.0 s", "hurry"] == shown(view, view, said="hurry")


def test_remark_says_why_a_run_does_not_move() -> None:
    fresh, paused = a_run(a_step(attempts=0)), a_run(a_step(), status=RunState.PAUSED)
    command = f"  flowq runs show {paused.id}"

    assert remark(a_run(a_step()), 60, "flowq worker") is None
    assert remark(fresh, 1, "flowq worker") is None
    assert "is a worker running?  flowq worker" in str(remark(fresh, 60, "flowq worker"))
    assert remark(replace(paused, error="lunch"), 1, None) == f"the run is paused: lunch{command}"
    assert remark(paused, 1, None) == f"the run is paused{command}"


def test_table_shows_items_attempts_and_totals() -> None:
    file = io.StringIO()
    console = Console(file=file, width=100, height=40, force_terminal=True, color_system=None)
    view = a_run(a_map(2, 4, failed=1), a_step("report", S.PENDING, attempts=0, started_at=None))

    with Redrawn(console) as table:
        table.update(view, None)

    text = file.getvalue()
    assert "2 completed, 1 failed of 4" in text
    assert "report" in text
    assert "running  2 completed, 1 failed of 5 steps" in text


@pytest.mark.parametrize("encoding, sign", [("utf-8", "✓"), ("ascii", "+")])
def test_marks_fit_the_terminal(encoding: str, sign: str) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Lines(Console(file=file, width=200)).update(a_run(a_step(status=S.COMPLETED)), None)
    file.flush()
    raw = file.buffer
    assert isinstance(raw, io.BytesIO)

    assert raw.getvalue().decode(encoding).startswith(sign)


def test_single_step_has_no_items() -> None:
    assert "" == items(a_step()).plain


def test_steps_that_something_happens_to_fit_first() -> None:
    """A chain of 2,000 on a screen of 10 lines: the running one with what comes next to it."""
    states = [S.COMPLETED] * 1_000 + [S.RUNNING] + [S.PENDING] * 999
    steps = [a_step(f"s{i}", state, order=i) for i, state in enumerate(states)]

    rows, rest = fitting(steps, 10)

    assert [f"s{i}" for i in range(1_000, 1_010)] == [step.key for step in rows]
    assert "1,990 more: 1,000 completed, 990 pending" == rest


def test_last_steps_that_ended_fill_the_screen() -> None:
    steps = [a_step(f"s{i}", S.COMPLETED, order=i) for i in range(100)]

    rows, rest = fitting(steps, 3)

    assert ["s97", "s98", "s99"] == [step.key for step in rows]
    assert "97 more: 97 completed" == rest
