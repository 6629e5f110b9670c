"""Reruns: a new run that reuses what an earlier run has completed, and runs the rest.

The flow is made again as it is deployed now, with the inputs of the earlier run or with others, and
compared with what is recorded (`flowq.core.rerun`). Steps that are reused are inserted as completed
rows, in the transaction that inserts the run; from there on it is a run like any other. Maps and
child runs that are not reused whole compare their items and their own steps when they begin
(`engine.advance.reuse`). A process that does not know the flow uses the recorded graph.

The earlier run is not changed; who has rerun it is recorded with it. It is kept as long as its
reruns are, with its child runs and its objects.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

from flowq.core.errors import InvalidInput, RunNotFound
from flowq.core.ids import RunId
from flowq.core.names import is_own
from flowq.core.rerun import Why
from flowq.core.spec import StepKind
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.core.text.json_values import unmarked
from flowq.engine.engine import Engine
from flowq.engine.model.actions import ActionKind, NewAction
from flowq.engine.model.reruns import OldRun, OldStep, RerunPreview
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.actors import new_action
from flowq.engine.runs.inherited import Inherited
from flowq.engine.runs.options import Submission, SubmitOptions
from flowq.engine.runs.preparing import Start, input_limit, prepare
from flowq.engine.runs.rerun_comparing import Comparison, comparison, planned, reuse
from flowq.engine.runs.submission import begin


def rerun(
    engine: Engine,
    run_id: RunId,
    *,
    from_step: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    **options: Unpack[SubmitOptions],
) -> RunId:
    """Start a rerun of a run that has ended.

    Args:
        engine: Where the run is recorded.
        run_id: The run.
        from_step: The key of a step, a call or an item (`fetch[3]`): it and all after it run again.
        inputs: Inputs that replace those of the run, by parameter.
        options: As of `submit`; user, metadata, budget and priority are those of the run unless
            given.

    Returns:
        The id of the rerun; with an idempotency key, that of the first run that was given it.

    Raises:
        RunNotFound: there is no such run.
        InvalidInput: the run has not ended, continues as another one, or has no such step; the
            inputs do not fit, or cannot be replaced here since the flow is not defined; or the flow
            skips it, since another run of its singleton key is in flight.
        InvalidFlow: the flow, as it is now, cannot be made into a graph.
        DatabaseUnavailable: the rerun could not be recorded.
        StoreUnavailable: it cannot be known which results are still there.
    """
    start, _ = _prepared(engine, run_id, from_step, inputs, options)
    details: dict[str, Any] = {"rerun_of": str(run_id), "run_id": str(start.run.id)}
    if from_step is not None:
        details["from_step"] = from_step
    if inputs:
        details["inputs"] = sorted(inputs)
    action = new_action(engine, run_id, ActionKind.RERUN, details, id_=start.run.id)
    key = start.run.idempotency_key
    has_begun = False

    def look(tx: Transaction, inserted: set[RunId]) -> None:
        nonlocal has_begun
        keys = [] if key is None else [key]
        has_begun = bool(inserted or (keys and tx.runs.with_keys(start.run.flow_name, keys)))

    begun = begin(engine, [_with(start, action)], options.get("session"), after=look)[0]
    if begun != start.run.id and not has_begun:
        raise InvalidInput(
            f"run {run_id} is not rerun: its flow {start.run.flow_name!r} is a singleton that "
            f"skips, and run {begun} has its key",
            hint=f"wait for the end of that run, or cancel it: flowq runs cancel {begun}",
        )
    return begun


def preview(
    engine: Engine,
    run_id: RunId,
    *,
    from_step: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> RerunPreview:
    """Return what `rerun` would do with these arguments; raises what it raises."""
    start, found = _prepared(engine, run_id, from_step, inputs, {})
    names = {step.key: step.name for step in start.definition.spec.steps}
    if start.definition.spec.program is not None:
        names = {row.key: row.name for row in found.rows if row.call is not None}
        names |= _not_called(engine, found, names)
    rows: dict[str, list[OldStep]] = {}
    for row in found.rows:
        rows.setdefault(row.key, []).append(row)
    keys = [one for one in found.why if one in names]
    spec = start.definition.spec
    steps = tuple(planned(found, spec, one, names[one], rows.get(one, [])) for one in keys)
    return RerunPreview(run_id, found.old.flow_name, steps, tuple(found.notes))


def _not_called(engine: Engine, found: Comparison, called: Mapping[str, str]) -> dict[str, str]:
    """Return the calls that the program was told to make and has not made; they are to run."""
    program = found.old.spec.program
    flow = None if program is None else engine.registry.flows.get(program.name)
    if flow is None or flow.outline is None:
        return {}
    made = Counter(key.rpartition("#")[0] for key in called)
    missing: dict[str, str] = {}
    for step in flow.outline(unmarked(dict(found.old.inputs))).steps:
        if step.kind is not StepKind.STEP:
            continue
        label = step.key.partition("#")[0]
        made[label] -= 1
        if made[label] < 0:
            missing[step.key] = step.name
            found.why[step.key] = Why.OPEN
    return missing


def _with(start: Start, action: NewAction) -> Start:
    assert start.run.rerun is not None
    return replace(start, run=replace(start.run, rerun=replace(start.run.rerun, action=action)))


def _prepared(
    engine: Engine,
    run_id: RunId,
    from_step: str | None,
    inputs: Mapping[str, Any] | None,
    options: SubmitOptions,
) -> tuple[Start, Comparison]:
    old = engine.records.autocommit(lambda tx: tx.reruns.old_run(run_id))
    if old is None:
        raise RunNotFound.of(run_id)
    _refuse_open(old)
    found = comparison(engine, old)
    found.fork = from_step
    flow, stored = _flow(engine, found)
    given: Mapping[str, Any] = unmarked(dict(old.inputs))
    if inputs:
        if stored or is_own(flow.name):  # flowq's own programs trust their inputs
            raise _fixed_inputs(old)
        given = {**flow.read(given), **inputs}
    own = Submission.of(options, input_limit(engine))
    kept = old.budget
    if kept is not None and old.spec.budget is not None:  # rows have no share for a warning
        kept = kept.model_copy(update={"warn_at": old.spec.budget.warn_at})
    own = replace(
        own,
        user_id=own.user_id or old.user_id,
        metadata=own.metadata or old.metadata,
        budget=own.budget or kept,
        priority=own.priority if options.get("priority") is not None else old.priority,
    )
    start = prepare(
        engine,
        flow,
        given,
        own,
        inherited=Inherited(share=old.spec.share),
        stored=not inputs,
        document_id=old.document_id,
        reuse=partial(reuse, found),
    )
    return start, found


def _fixed_inputs(old: OldRun) -> InvalidInput:
    program = old.spec.program
    if is_own(program.name) if program is not None else "face" in old.metadata:
        return InvalidInput(
            f"the inputs of run {old.id} cannot be replaced: they are its document",
            hint="rerun it as it is, or start a new run of another document",
        )
    return InvalidInput(
        f"the inputs of run {old.id} cannot be replaced here: its flow {old.flow_name!r} is not "
        "defined in this process",
        hint="name the file that defines it: flowq runs rerun … --code flows.py",
    )


def _refuse_open(old: OldRun) -> None:
    if old.status not in TERMINAL_RUN_STATES:
        raise InvalidInput(
            f"run {old.id} is {old.status}: only a finished run can be rerun",
            hint=f"wait for its end, or cancel it first: flowq runs cancel {old.id}",
        )
    if old.continued_as is not None:
        raise InvalidInput(
            f"run {old.id} continues as run {old.continued_as}",
            hint=f"rerun that one: flowq runs rerun {old.continued_as}",
        )


def _flow(engine: Engine, found: Comparison) -> tuple[RegisteredFlow, bool]:
    """Return the flow as it is now, or as it is recorded; and whether it is the recorded one."""
    old, program = found.old, found.old.spec.program
    # A graph that is made from a document has no flow of its name.
    is_document = program is None and "face" in old.metadata
    name = old.spec.name if program is None else program.name
    flow = None if is_document else engine.registry.flows.get(name)
    if flow is not None:
        return flow, False
    if not is_document and not is_own(name):  # flowq's own are complete as they are recorded
        found.notes.append(
            f"Flow {name!r} is not defined in this process, so the recorded graph of the run is "
            "used."
        )
    spec = old.spec.model_copy(
        update={"rerun": None, "charged_to": (), "labels": {}, "budget": None}
    )
    return RegisteredFlow(spec.name, trace=lambda _: spec, validate=lambda given: given), True
