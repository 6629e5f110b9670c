"""The end of a run: its outcome, its outputs, and the step of another run that waited for it.

A run is at its end when none of its rows is open. That is asked after the commit of whatever ended
last, so of two steps that end at the same moment at least one asks when both have ended; closing is one
guarded UPDATE, so if both ask, one closes.
"""

import json
from typing import Any

from flowq.core.errors import FlowqError
from flowq.core.ids import LeaseToken, StepRunId
from flowq.core.planner import run_outcome
from flowq.core.references import as_reference, references, resolve
from flowq.core.results import NO_RESULT
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction
from flowq.engine.rows import Definition, Outcome, StoredStep
from flowq.engine.values import lookup


def finish_if_done(engine: Engine, definition: Definition) -> StepRunId | None:
    """Close the run if all its steps have ended.

    Returns:
        The step that waited for this run and has now ended too, if there is one.
    """
    run_id = definition.run_id

    def read(tx: Transaction) -> tuple[RunState, list[StoredStep]] | None:
        if tx.steps.has_open(run_id):
            return None
        failed = tx.steps.failed(run_id)
        asked = tx.runs.cancel_requested(run_id)
        keys = [row.key for row in failed]
        return run_outcome(definition.spec, keys, cancel_requested=asked), failed

    status = engine.records.single(lambda tx: tx.runs.status(run_id))
    if status is None or status in TERMINAL_RUN_STATES:
        return None
    if status is RunState.CANCELLING:
        # Steps that were being queued while the run was stopped are found here, not run.
        engine.records.write(lambda tx: tx.steps.cancel_open(run_id))
    done = engine.records.single(read)
    if done is None:
        return None
    state, failed = done
    error, outputs = None, None
    if state is RunState.FAILED:
        first = next(row for row in failed if not definition.spec.step(row.key).allow_failure)
        error = f"step {first.key!r} failed: {first.error_message}"
    elif state is RunState.COMPLETED:
        try:
            outputs = _readable_outputs(engine, definition)
        except FlowqError as failure:
            # The steps are done and recorded; only what the flow makes of them cannot be read.
            state, error = RunState.FAILED, f"the output cannot be read: {failure.message}"
    outcome = _for_parent(engine, definition, state, error) if definition.parent else None

    def close(tx: Transaction) -> bool:
        if not tx.runs.close(run_id, state, outputs=outputs, error=error):
            return False
        if definition.parent is None or outcome is None:
            return False
        ended = StepState.COMPLETED if state is RunState.COMPLETED else StepState.FAILED
        return tx.steps.end_waiting(definition.parent, ended, outcome)

    return definition.parent if engine.records.write(close) else None


def output(engine: Engine, definition: Definition) -> Any:
    """Return what a completed run returned, as plain values.

    Raises:
        ResultMissing: a recorded result is gone from the store.
        StepError: the output names a part that a result does not have.
    """
    template = definition.spec.output
    return resolve(template, lookup(engine, definition.run_id, references(template)))


def _readable_outputs(engine: Engine, definition: Definition) -> Any:
    """Return the outputs for the run's row: the value if it is small JSON, else its template."""
    template = definition.spec.output
    keys = list({ref.step for ref in references(template)})
    if keys:
        rows = engine.records.single(lambda tx: tx.steps.stored(definition.run_id, keys))
        size = sum(row.result.size for row in rows if row.result)
        if size > engine.results.threshold_bytes or any(row.map_size for row in rows):
            return template
    value = output(engine, definition)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return template
    return value


def _for_parent(
    engine: Engine, definition: Definition, state: RunState, error: str | None
) -> Outcome:
    """Return what the waiting step of the parent run gets: by reference where that is possible."""
    if state is not RunState.COMPLETED:
        why = error or state
        return Outcome(
            error_type="RunFailed", error_message=f"run {definition.run_id} {state}: {why}"
        )
    template = definition.spec.output
    source = as_reference(template)
    if source is not None and not source.path:
        row = engine.records.single(lambda tx: tx.steps.stored(definition.run_id, [source.step]))[0]
        if row.map_size is None:
            return Outcome(result=row.result or NO_RESULT)
    assert definition.parent is not None
    parent_run = engine.records.single(lambda tx: tx.steps.node(definition.parent))
    assert parent_run is not None
    stored = engine.results.store(
        output(engine, definition),
        Any,
        run_id=parent_run.run_id,
        step_id=definition.parent,
        token=LeaseToken(definition.run_id),
    )
    return Outcome(result=stored.ref, copy=stored.copy)
