"""Rebuilds the events of a run from its rows.

Rows have the present state of each step run, not its whole history: of deferred attempts only the
last one, and no streamed text. For a terminal run the same events come in the same order each time,
so their numbers are positions at which a reader can continue.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from flowq.core.events import (
    BatchStarted,
    EndEvent,
    Event,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowError,
    WorkflowStarted,
    from_fields,
)
from flowq.core.ids import BatchId, RunId
from flowq.core.states import RunState, StepState
from flowq.engine.model.rows import RunView, StepProgress
from flowq.engine.ports import Transaction


def begin(run: RunView, steps: int) -> WorkflowStarted:
    """Return the first event of a run whose flow has this number of steps."""
    return WorkflowStarted(
        run_id=run.id,
        timestamp=run.started_at or run.created_at,
        flow_name=run.flow_name,
        total_steps=steps,
    )


def end(run: RunView) -> EndEvent:
    """Return the last event of a run that has ended."""
    known: dict[str, Any] = {
        "run_id": run.id,
        "timestamp": run.completed_at or run.created_at,
        "flow_name": run.flow_name,
        "execution_time_ms": run.execution_time_ms,
        "total_tokens": run.tokens,
        "total_cost": run.cost,
        "unpriced_calls": run.unpriced,
    }
    if run.status is RunState.COMPLETED:
        return WorkflowCompleted(**known, continued_as=run.continued_as)
    if run.status is RunState.FAILED:
        return WorkflowError(**known, error_message=run.error)
    return WorkflowCancelled(**known, reason=run.error)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the rows of a run have of its history.

    Attributes:
        marks: The progress of each of its step runs.
        warnings: The warnings of budgets, without the run.
    """

    marks: Sequence[StepProgress]
    warnings: Sequence[Mapping[str, Any]] = ()


def recorded(tx: Transaction, run_id: RunId) -> Recorded:
    """Read what the rows of a run have of its history."""
    return Recorded(tx.steps.step_progress(run_id), tx.meters.warnings(run_id))


def history(run: RunView, known: Recorded) -> list[Event]:
    """Return the events between a run's first and last one, ordered by time."""
    marks = known.marks
    found = [*_batches(run, marks)]
    for fields in known.warnings:
        with suppress(ValidationError):  # one that cannot be read hides no other event
            warning = from_fields({**fields, "run_id": run.id})
            found.append((warning.timestamp, warning))
    for mark in marks:
        found += [(event.timestamp, event) for event in _of_step(run, mark)]
    found.sort(key=lambda timed: timed[0])  # stable: equal times keep their order
    return [event for _, event in found]


def _batches(run: RunView, marks: Sequence[StepProgress]) -> Iterator[tuple[datetime, Event]]:
    members: dict[BatchId, list[StepProgress]] = {}
    for mark in marks:
        if mark.batch is not None and mark.map_size is None:  # a map has the batch of its items
            members.setdefault(mark.batch, []).append(mark)
    for batch, ours in members.items():
        steps = tuple(dict.fromkeys(mark.key for mark in ours))
        items = len(ours) if ours[0].map_index is not None else None
        moment = min(_queued(run, mark) for mark in ours)
        yield (
            moment,
            BatchStarted(run_id=run.id, timestamp=moment, batch=batch, steps=steps, items=items),
        )


def _queued(run: RunView, mark: StepProgress) -> datetime:
    """Return when a step was queued: an item with its row; for a node it is not recorded."""
    if mark.map_index is not None:
        return mark.created_at
    return mark.started_at or mark.completed_at or run.started_at or run.created_at


def _of_step(run: RunView, mark: StepProgress) -> Iterator[Event]:
    is_map = mark.map_size is not None
    began = mark.started_at or mark.created_at
    where: dict[str, Any] = {"run_id": run.id, "step": mark.key, "index": mark.map_index}
    where["attempt"] = mark.attempt
    # A failed call that a rerun reuses has the number of its attempts, and began in none.
    has_begun = mark.attempt and mark.started_at is not None
    if has_begun and mark.status is not StepState.QUEUED and not is_map:
        yield StepStarted(**where, timestamp=began, worker=mark.worker)
    ended = mark.completed_at or began
    why = {"error_type": mark.error_type, "error_message": mark.error_message}
    used = {
        "execution_time_ms": mark.execution_time_ms,
        "tokens": mark.tokens,
        "cost": mark.cost,
        "unpriced_calls": mark.unpriced,
    }
    match mark.status:
        case StepState.RETRYING:
            yield StepRetrying(**where, **why, **used, timestamp=began)
        case StepState.COMPLETED:
            yield StepCompleted(**where, **used, timestamp=ended, items=mark.map_size)
        case StepState.FAILED:
            yield StepFailed(**where, **why, **used, timestamp=ended, items=mark.map_size)
        case StepState.SKIPPED:
            yield StepSkipped(**where, timestamp=ended)
