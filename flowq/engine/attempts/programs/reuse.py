"""Calls of a rerun of a program that have the results of the earlier run.

Its history was copied when it was submitted. Beyond that a call is reused if the earlier run has
completed the same call (key, name, inputs), and if the program has observed nothing yet that the
earlier run did not: what it does after that may depend on it in ways that nobody can see. Calls
that were made together with one that has failed are reused so.

A program that only passes results on (a canvas: `FlowSpec.reruns_failures`) hides nothing: there a
call is reused later, too, if the digests of its inputs are the same. Its timers are not: a wait
begins at an end that is not known to be the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from flowq.core.errors import FlowqError, Unavailable
from flowq.core.ids import RunId
from flowq.core.rerun import same_step
from flowq.core.spec import RerunSpec, StepKind
from flowq.core.states import StepState
from flowq.engine.advance.reuse import (
    digests,
    missing_objects,
    reusable_items,
    reused_call,
    reused_end,
)
from flowq.engine.engine import Engine
from flowq.engine.model.programs import NewCall
from flowq.engine.model.reruns import OldStep, ReusedStep


def reuse_calls(
    engine: Engine, run_id: RunId, calls: Sequence[NewCall], *, has_diverged: bool
) -> tuple[list[NewCall], list[ReusedStep]]:
    """Return the calls that run, with the reused items of maps, and the rows of the others.

    Args:
        engine: Where both runs are recorded.
        run_id: The rerun.
        calls: Its new calls.
        has_diverged: Whether its program has observed something that the earlier run did not.
    """
    spec = engine.definitions.get(run_id).definition.spec
    rerun = spec.rerun
    if rerun is None or not calls or (has_diverged and not spec.reruns_failures):
        return list(calls), []
    keys = [call.spec.key for call in calls if _may_be_reused(rerun, call.spec.key)]
    old_id = RunId(rerun.of)
    rows = engine.records.autocommit(lambda tx: tx.reruns.old_steps(old_id, keys))
    known = {row.key: row for row in rows if row.map_index is None and row.call is not None}
    missing = missing_objects(engine, known.values())
    if has_diverged:
        others = _with_other_inputs(engine, run_id, calls, old_id, known)
        known = {key: row for key, row in known.items() if key not in others}
    run: list[NewCall] = []
    reused: list[ReusedStep] = []
    for call in calls:
        old = known.get(call.spec.key)
        if old is None or old.call is None or old.call.kind is not call.spec.kind:
            run.append(call)
        elif call.spec.map is not None:
            run.append(_with_items(engine, run_id, call, old_id, old))
        elif not same_step(old.call, call.spec):
            run.append(_as_rerun(call))
        elif old.status is StepState.COMPLETED and old.id not in missing:
            reused.append(reused_call(old_id, run_id, old, call.order))
        else:
            run.append(_as_rerun(call))
    return run, reused


def _may_be_reused(rerun: RerunSpec, key: str) -> bool:
    return key not in rerun.fresh and (rerun.only is None or key in rerun.only)


def _with_other_inputs(
    engine: Engine,
    run_id: RunId,
    calls: Sequence[NewCall],
    old_id: RunId,
    known: Mapping[str, OldStep],
) -> set[str]:
    """Return the keys of calls whose inputs are not known to be those of the earlier run."""
    pairs = [
        (call.spec, old.call)
        for call in calls
        if call.spec.kind in (StepKind.STEP, StepKind.FLOW)
        and (old := known.get(call.spec.key)) is not None
        and old.call is not None
    ]
    try:
        mine = digests(engine, run_id, [spec.arguments for spec, _ in pairs])
        theirs = digests(engine, old_id, [call.arguments for _, call in pairs])
    except Unavailable:
        raise
    except FlowqError:  # nothing can be compared: all run, and report what is wrong
        return set(known)
    same = {
        spec.key
        for (spec, _), one, other in zip(pairs, mine, theirs, strict=True)
        if one is not None and one == other
    }
    return known.keys() - same


def _as_rerun(call: NewCall) -> NewCall:
    """Return a call whose child run reruns that of the earlier call."""
    if call.spec.kind is not StepKind.FLOW:
        return call
    return replace(call, spec=call.spec.model_copy(update={"reruns": True}))


def _with_items(
    engine: Engine, run_id: RunId, call: NewCall, old_id: RunId, old: OldStep
) -> NewCall:
    """Return a map with the items that are reused; it has ended if these are all."""
    call = _as_rerun(call)
    assert call.spec.map is not None
    items = reusable_items(engine, run_id, call.spec, call.spec.map.items, call.order)
    if not items or len(items) < len(call.items):
        return replace(call, reused=items)
    spec = call.spec
    if old.status is StepState.COMPLETED:
        spec = spec.model_copy(update={"reused": reused_end(old_id, old)})
    return replace(call, spec=spec, state=StepState.COMPLETED, reused=items)
