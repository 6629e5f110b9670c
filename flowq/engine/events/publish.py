"""Publishes events after the commit of what they report.

Nothing here can fail or block: an event goes into a queue of this process and is sent a moment
later (see `flowq.core.events`). With FLOWQ_EVENTS=0 only the end of a run is sent, because
`run.wait()` needs it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from flowq.core.events import (
    BatchStarted,
    BudgetWarning,
    EndEvent,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StreamEvent,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowError,
    WorkflowStarted,
)
from flowq.core.ids import BatchId, BatchKind, RunId, StepRunId, batch_of_items, parse_batch
from flowq.core.states import RunState, StepState
from flowq.core.usage import Usage
from flowq.engine.engine import Engine
from flowq.engine.model.programs import NewCall
from flowq.engine.model.reruns import ReusedStep
from flowq.engine.model.rows import Batch, Claim, Definition, Outcome
from flowq.engine.model.sweeps import ExpiredLease
from flowq.engine.runtime.text_stream import Streams

_ENDS: Final[Mapping[RunState, type[EndEvent]]] = {
    RunState.COMPLETED: WorkflowCompleted,
    RunState.FAILED: WorkflowError,
    RunState.CANCELLED: WorkflowCancelled,
}
_LOST_WORKER = "the worker stopped responding"


def run_started(engine: Engine, definition: Definition) -> None:
    """Publish that a run is recorded."""
    if engine.policies.events:
        total = len(definition.spec.steps)
        engine.events.publish(
            WorkflowStarted,
            definition.run_id,
            flow_name=definition.flow_name,
            total_steps=total,
        )


def run_ended(engine: Engine, definition: Definition, state: RunState) -> None:
    """Publish the terminal event of a run; readers take error and totals from its row."""
    engine.events.publish(_ENDS[state], definition.run_id, flow_name=definition.flow_name)


def budget_warning(engine: Engine, warning: BudgetWarning) -> None:
    """Publish that much of a budget is spent."""
    if engine.policies.events:
        fields = warning.model_dump(exclude={"run_id", "timestamp", "event_type", "id", "rebuilt"})
        engine.events.publish(BudgetWarning, warning.run_id, **fields)


def batches_started(engine: Engine, batches: Sequence[Batch]) -> None:
    """Publish that steps are queued."""
    if not engine.policies.events:
        return
    for batch in batches:
        first, count = batch.messages[0], len(batch.messages)
        if parse_batch(batch.id)[0] is BatchKind.ITEMS:
            steps: tuple[str, ...] = (first.label.rpartition("[")[0],)
            items = count + batch.reused
            engine.events.publish(
                BatchStarted, first.run_id, batch=batch.id, steps=steps, items=items
            )
        else:
            steps = tuple([message.label for message in batch.messages])
            engine.events.publish(BatchStarted, first.run_id, batch=batch.id, steps=steps)


def calls_started(engine: Engine, run_id: RunId, calls: Sequence[NewCall]) -> None:
    """Publish the calls of a program, including timers and signals, which have no message."""
    if not engine.policies.events:
        return
    groups: dict[BatchId, list[str]] = {}
    for call in calls:
        key = call.spec.key
        if call.spec.map is None:
            groups.setdefault(call.batch, []).append(key)
            continue
        if call.items:
            items, batch = len(call.items), batch_of_items(call.id)
            engine.events.publish(BatchStarted, run_id, batch=batch, steps=(key,), items=items)
            reused(engine, run_id, list(call.reused.values()), begin=False)
            if call.state is StepState.COMPLETED:
                engine.events.publish(StepCompleted, run_id, step=key, items=items)
        else:
            engine.events.publish(StepCompleted, run_id, step=key, items=0)
    for batch, keys in groups.items():
        engine.events.publish(BatchStarted, run_id, batch=batch, steps=tuple(keys))


def reused(
    engine: Engine, run_id: RunId, rows: Sequence[ReusedStep], *, begin: bool = True
) -> None:
    """Publish the ends of steps that a rerun reuses, and with `begin` the start of their batches.

    They are in the rows at once, and a page that is open shows them at once.
    """
    if not rows or not engine.policies.events:
        return
    sizes = Counter(row.batch for row in rows)
    for row in rows:
        old = row.old
        if begin and row.batch is not None and (size := sizes.pop(row.batch, 0)):
            items = None if old.map_index is None else size
            engine.events.publish(
                BatchStarted, run_id, batch=row.batch, steps=(old.key,), items=items
            )
        where = {"step": old.key, "index": old.map_index}
        if old.status is StepState.SKIPPED:
            engine.events.publish(StepSkipped, run_id, **where)
        elif old.status is StepState.COMPLETED:
            engine.events.publish(StepCompleted, run_id, **where, items=old.map_size)
        elif old.status is StepState.FAILED:
            why = {"error_type": old.error_type, "error_message": old.error_message}
            engine.events.publish(StepFailed, run_id, **where, **why)


def step_started(engine: Engine, claim: Claim) -> None:
    """Publish that an attempt has begun."""
    if engine.policies.events:
        engine.events.publish(StepStarted, claim.run_id, **_attempt(claim), worker=engine.worker)


def step_completed(engine: Engine, claim: Claim, outcome: Outcome) -> None:
    """Publish that a step has completed."""
    if engine.policies.events:
        engine.events.publish(
            StepCompleted, claim.run_id, **_attempt(claim), **_used(engine, claim, outcome)
        )


def step_failed(engine: Engine, claim: Claim, outcome: Outcome) -> None:
    """Publish that a step has failed for good."""
    if engine.policies.events:
        engine.events.publish(
            StepFailed,
            claim.run_id,
            **_attempt(claim),
            error_type=outcome.error_type,
            error_message=outcome.error_message,
            **_used(engine, claim, outcome),
        )


def step_retrying(engine: Engine, claim: Claim, outcome: Outcome, delay: timedelta) -> None:
    """Publish that another attempt follows a failed one."""
    if engine.policies.events:
        engine.events.publish(
            StepRetrying,
            claim.run_id,
            **_attempt(claim),
            error_type=outcome.error_type,
            error_message=outcome.error_message,
            delay=delay.total_seconds(),
            **_used(engine, claim, outcome),
        )


def worker_lost(engine: Engine, expired: ExpiredLease) -> None:
    """Publish that an attempt has ended with its worker."""
    if engine.policies.events:
        kind, place = StepFailed if expired.failed else StepRetrying, expired.place
        engine.events.publish(
            kind,
            place.run_id,
            step=place.key,
            index=place.map_index,
            attempt=expired.attempt,
            error_type="WorkerLost",
            error_message=_LOST_WORKER,
            **_usage(expired.used),
        )


def node_ended(
    engine: Engine,
    run_id: RunId,
    key: str,
    state: StepState,
    *,
    error: str | None = None,
    items: int | None = None,
) -> None:
    """Publish the end of a node that has no attempt of its own.

    Cancelled nodes have no event: the event of their run says that it was cancelled.
    """
    if not engine.policies.events:
        return
    if state is StepState.SKIPPED:
        engine.events.publish(StepSkipped, run_id, step=key)
    elif state is StepState.COMPLETED:
        engine.events.publish(StepCompleted, run_id, step=key, items=items)
    elif state is StepState.FAILED:
        engine.events.publish(StepFailed, run_id, step=key, error_message=error, items=items)


def parent_ended(engine: Engine, parent: StepRunId, state: StepState, outcome: Outcome) -> None:
    """Publish the end of a step that waited for a child run."""
    if not engine.policies.events:
        return
    place = engine.records.autocommit(lambda tx: tx.steps.node(parent))
    if place is not None:
        node_ended(engine, place.run_id, place.key, state, error=outcome.error_message)


def streams(engine: Engine, claim: Claim) -> Streams:
    """Return the streams of an attempt."""
    return Streams(partial(_stream, engine, claim)) if engine.policies.events else Streams()


def _stream(engine: Engine, claim: Claim, kind: type[StreamEvent], **fields: Any) -> None:
    engine.events.publish(kind, claim.run_id, **_attempt(claim), **fields)


def _used(engine: Engine, claim: Claim, outcome: Outcome) -> Mapping[str, Any]:
    """Return what a step has used in all attempts so far, as its row has it now."""
    took = claim.execution_time_ms + outcome.execution_time_ms
    used = claim.used + engine.requests.used_by(claim.token)
    return {"execution_time_ms": took, **_usage(used)}


def _usage(used: Usage) -> Mapping[str, Any]:
    return {"tokens": used.tokens, "cost": used.cost, "unpriced_calls": used.unpriced}


def _attempt(claim: Claim) -> Mapping[str, Any]:
    return {"step": claim.key, "index": claim.map_index, "attempt": claim.attempt}
