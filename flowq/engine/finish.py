"""The end of a run: its outcome, its outputs, and the step of another run that waited for it.

A run is at its end when none of its rows is open. That is asked after the commit of whatever ended
last, so of two steps that end at the same moment at least one asks when both have ended; closing is one
guarded UPDATE, so if both ask, one closes.
"""

import json
from typing import Any

from flowq.core.errors import FlowqError, Unavailable
from flowq.core.ids import LeaseToken, StepRunId
from flowq.core.planner import run_outcome
from flowq.core.references import as_reference, references, resolve
from flowq.core.results import NO_RESULT
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.engine.engine import Engine
from flowq.engine.ports import Transaction
from flowq.engine.rows import Definition, Outcome
from flowq.engine.values import lookup


def finish_if_done(engine: Engine, definition: Definition) -> StepRunId | None:
    """Close the run if all its steps have ended.

    Returns:
        The step that waited for this run and has now ended too, if there is one.
    """
    run_id, records = definition.run_id, engine.records
    plain = _recorded_as(definition)
    if definition.parent is None and plain is not None:
        # The ordinary end needs no question: one statement that closes the run if it may be closed.
        if records.single(
            lambda tx: tx.runs.close(run_id, RunState.COMPLETED, outputs_of=plain, if_clean=True)
        ):
            engine.events.run_ended(run_id)
            return None
    ending = records.single(lambda tx: tx.runs.ending(run_id))
    if ending is None or ending.status in TERMINAL_RUN_STATES:
        return None
    if ending.has_open:
        if ending.status is not RunState.CANCELLING:
            return None
        # Steps that were being queued while the run was stopped are found here, not run.
        if not records.single(lambda tx: tx.steps.cancel_open(run_id)):
            return None
        return finish_if_done(engine, definition)
    failed = records.single(lambda tx: tx.steps.failed(run_id)) if ending.has_failed else []
    state = run_outcome(
        definition.spec, [row.key for row in failed], cancel_requested=ending.cancel_requested
    )
    error, outputs, outputs_of, outcome = None, None, None, None
    if state is RunState.COMPLETED:
        outputs, outputs_of = definition.spec.output, plain
        try:
            if outputs_of is None:
                outputs = _readable_outputs(engine, definition)
            if definition.parent is not None:
                outcome = _for_parent(engine, definition, definition.parent)
        except Unavailable:
            raise  # the output is read later, by whoever comes next
        except FlowqError as failure:
            # The steps are done and recorded; what the flow makes of them cannot be read.
            state, error = RunState.FAILED, f"the output cannot be read: {failure.message}"
            outputs, outputs_of = None, None
    elif state is RunState.FAILED:
        first = next(row for row in failed if not definition.spec.step(row.key).allow_failure)
        error = f"step {first.key!r} failed: {first.error_message}"
    if outcome is None:
        why = f"run {run_id} {state}" + (f": {error}" if error else "")
        outcome = Outcome(error_type="RunFailed", error_message=why)

    def close(tx: Transaction) -> bool:
        if not tx.runs.close(run_id, state, outputs=outputs, outputs_of=outputs_of, error=error):
            return False
        if definition.parent is None:
            return True
        ended = StepState.COMPLETED if state is RunState.COMPLETED else StepState.FAILED
        return tx.steps.end_waiting(definition.parent, ended, outcome)

    if definition.parent is None:
        if records.single(close):
            engine.events.run_ended(run_id)
        return None
    parent_ended = records.write(close)
    engine.events.run_ended(run_id)
    return definition.parent if parent_ended else None


def _recorded_as(definition: Definition) -> str | None:
    """Return the step whose recorded outputs are the run's, when the flow returns just that."""
    source = as_reference(definition.spec.output)
    if source is None or source.path or definition.spec.step(source.step).map is not None:
        return None
    return source.step


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


def _for_parent(engine: Engine, definition: Definition, parent: StepRunId) -> Outcome:
    """Return what the step that waits for a run gets: by reference where that is possible."""
    key = _recorded_as(definition)
    if key is not None:
        row = engine.records.single(lambda tx: tx.steps.stored(definition.run_id, [key]))[0]
        # One that failed, and was allowed to, has a StepFailure where a result would be.
        if row.status is not StepState.FAILED:
            return Outcome(result=row.result or NO_RESULT)
    place = engine.records.single(lambda tx: tx.steps.node(parent))
    assert place is not None
    stored = engine.results.store(
        output(engine, definition),
        run_id=place.run_id,
        step_id=parent,
        token=LeaseToken(definition.run_id),
        where=f"flow {definition.flow_name}",
    )
    return Outcome(result=stored.ref, copy=stored.copy)
