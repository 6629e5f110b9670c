"""The end of a run: its outcome, its outputs, and the parent step that waits for it.

A run can be closed when all of its rows are terminal. This is checked after the commit of each end,
so of two steps that end at the same moment at least one check sees both. Closing is one guarded
UPDATE, so if both see it, one of them closes the run.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from flowq.core.errors import FlowqError, Unavailable
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.planner import run_outcome
from flowq.core.references import as_reference, references, resolve
from flowq.core.results import NO_RESULT
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState, StopKind
from flowq.engine.advance.resolve import lookup
from flowq.engine.advance.starting import key_is_free
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Claim, Definition, Outcome, RunEnding, StoredStep
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction


@dataclass(frozen=True, slots=True)
class _Decision:
    """How a run ends, and its outputs."""

    state: RunState
    outputs: Any = None
    outputs_of: str | None = None  #: The step whose recorded outputs these are, if any.
    reason: StopReason | None = None
    for_parent: Outcome | None = None  #: The result of the parent step, when the run has completed.


def finish_if_done(engine: Engine, definition: Definition) -> StepRunId | None:
    """Close the run if all its steps have ended.

    Returns:
        The parent step, if it has now ended too.
    """
    run_id, records = definition.run_id, engine.records
    if _closed_at_once(engine, definition):
        return None
    ending = records.autocommit(lambda tx: tx.runs.ending(run_id))
    if ending is None or ending.status in TERMINAL_RUN_STATES | {RunState.PAUSED}:
        return None
    if not ending.has_open:
        if ending.continued:
            definition = replace(definition, parent=None)  # it now waits for the next run
        return _close(engine, definition, _decision(engine, definition, ending))
    # Steps that were queued while the run was being stopped are cancelled here.
    stopping = ending.status is RunState.CANCELLING
    if stopping and definition.spec.program is not None:
        # It may have been claimed while the run was being stopped.
        records.autocommit(
            lambda tx: tx.steps.shield(run_id, engine.policies.cleanup, timedelta(0))
        )
    if stopping and records.autocommit(lambda tx: tx.steps.cancel_open(run_id)):
        return finish_if_done(engine, definition)
    return None


def _closed_at_once(engine: Engine, definition: Definition) -> bool:
    """Close a run that completed normally, in one statement that also checks that it did."""
    run_id, plain = definition.run_id, _recorded_as(definition)
    if definition.parent is not None or plain is None:
        return False
    closed = engine.records.autocommit(
        lambda tx: tx.runs.close(run_id, RunState.COMPLETED, outputs_of=plain, if_clean=True)
    )
    if closed:
        _completed_normally(engine, definition)
    return closed


def returns_result_of(definition: Definition, key: str) -> bool:
    """Return whether a run, without a parent, returns what this step returns."""
    return definition.parent is None and _recorded_as(definition) == key


def complete_and_close(
    engine: Engine, definition: Definition, claim: Claim, outcome: Outcome
) -> bool:
    """Complete the step whose result a run returns, and close the run if that was its last step.

    Returns:
        Whether the run is closed.

    Raises:
        LeaseLost: the attempt no longer holds its lease; nothing has changed.
    """
    closed = engine.records.atomic(lambda tx: tx.steps.complete_and_close(claim, outcome))
    if closed is None:
        raise claim.lost()
    publish.step_completed(engine, claim, outcome)
    if closed:
        _completed_normally(engine, definition)
    return closed


def _completed_normally(engine: Engine, definition: Definition) -> None:
    publish.run_ended(engine, definition, RunState.COMPLETED)
    key_is_free(engine, definition)


def _decision(engine: Engine, definition: Definition, ending: RunEnding) -> _Decision:
    """Decide how a run ends whose steps have all ended."""
    run_id, spec = definition.run_id, definition.spec
    rows = (
        engine.records.autocommit(lambda tx: tx.steps.failed(run_id)) if ending.has_failed else []
    )
    failed = [row for row in rows if row.key in spec.by_key]  # its program has handled failed calls
    state = run_outcome(spec, [row.key for row in failed], cancel_requested=ending.cancel_requested)
    if state is RunState.COMPLETED and ending.stop is not None:
        # It was stopped neither by a failure nor by a cancel, but by its deadline, for example.
        return _Decision(RunState.FAILED, reason=ending.stop)
    if state is RunState.COMPLETED:
        return _completed(engine, definition)
    if state is RunState.FAILED:
        first = next(row for row in failed if not spec.step(row.key).allow_failure)
        return _Decision(state, reason=StopReason.of_step(run_id, first.key, first.error_message))
    return _Decision(state)


def _completed(engine: Engine, definition: Definition) -> _Decision:
    """Read the output of a run; a run whose output cannot be read has failed."""
    plain, parent = _recorded_as(definition), definition.parent
    try:
        return _Decision(
            RunState.COMPLETED,
            outputs=_readable_outputs(engine, definition) if plain is None else None,
            outputs_of=plain,
            for_parent=_for_parent(engine, definition, parent) if parent is not None else None,
        )
    except Unavailable:
        raise  # the next caller reads the output
    except FlowqError as failure:
        # The steps are recorded, but the output that the flow builds from them cannot be read.
        text = f"the output cannot be read: {failure.message}"
        return _Decision(RunState.FAILED, reason=StopReason(StopKind.OUTPUT, text))


def _close(engine: Engine, definition: Definition, decision: _Decision) -> StepRunId | None:
    """Close a run and end the step that waits for it; returns that step if this call ended it."""
    run_id, parent = definition.run_id, definition.parent

    def close(tx: Transaction) -> bool:
        return tx.runs.close(
            run_id,
            decision.state,
            outputs=decision.outputs,
            outputs_of=decision.outputs_of,
            reason=decision.reason,
        )

    if parent is None:
        if engine.records.autocommit(close):
            publish.run_ended(engine, definition, decision.state)
            key_is_free(engine, definition)
        return None
    completed = decision.state is RunState.COMPLETED
    ended = StepState.COMPLETED if completed else StepState.FAILED
    outcome = decision.for_parent or _failure_for_parent(run_id, decision)
    parent_ended = engine.records.transaction(
        lambda tx: close(tx) and tx.steps.end_waiting(parent, ended, outcome)
    )
    publish.run_ended(engine, definition, decision.state)
    key_is_free(engine, definition)
    if not parent_ended:
        return None
    publish.parent_ended(engine, parent, ended, outcome)
    return parent


def _failure_for_parent(run_id: RunId, decision: _Decision) -> Outcome:
    why = f"run {run_id} {decision.state}"
    if decision.reason is not None:
        why += f": {decision.reason.text}"
    return Outcome(error_type="RunFailed", error_message=why)


def _recorded_as(definition: Definition) -> str | None:
    """Return the step whose result the flow returns as it is, if there is one."""
    source = as_reference(definition.spec.output)
    if source is None or source.path:
        return None
    step = definition.spec.by_key.get(source.step)
    if step is None or step.map is not None:  # a given value has no row
        return None
    return source.step


def output(engine: Engine, definition: Definition, nodes: Sequence[StoredStep] = ()) -> Any:
    """Return the output of a completed run, as plain values.

    Args:
        nodes: Nodes that have been read already.

    Raises:
        ResultMissing: a recorded result is missing in the store.
        StepError: the output names a part that a result does not have.
    """
    template = definition.spec.output
    return resolve(template, lookup(engine, definition.run_id, references(template), nodes))


def _readable_outputs(engine: Engine, definition: Definition) -> Any:
    """Return the outputs for the run's row: the value if it is small JSON, else its template."""
    template = definition.spec.output
    keys = list({ref.step for ref in references(template)})
    if keys:
        rows = engine.records.autocommit(lambda tx: tx.steps.stored(definition.run_id, keys))
        given = definition.spec.given
        size = sum(row.result.size for row in rows if row.result)
        size += sum(given[key].size for key in keys if key in given)
        if size > engine.results.threshold_bytes or any(row.map_size for row in rows):
            return template
    value = output(engine, definition)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return template
    return value


def _for_parent(engine: Engine, definition: Definition, parent: StepRunId) -> Outcome:
    """Return the result of the parent step: a reference where that is possible."""
    key = _recorded_as(definition)
    if key is not None:
        row = engine.records.autocommit(lambda tx: tx.steps.stored(definition.run_id, [key]))[0]
        # A step with `allow_failure` that failed has a StepFailure in place of a result.
        if row.status is not StepState.FAILED:
            return Outcome(result=row.result or NO_RESULT)
    place = engine.records.autocommit(lambda tx: tx.steps.node(parent))
    assert place is not None
    stored = engine.results.store(
        output(engine, definition),
        run_id=place.run_id,
        step_id=parent,
        token=LeaseToken(definition.run_id),
        where=f"flow {definition.flow_name}",
    )
    return Outcome(result=stored.ref, copy=stored.copy)
