"""Compares a rerun with its earlier run, and says which rows it reuses from its start.

The comparison is made where the rerun is prepared, with its spec as it is now (`preparing.Reuse`).
Rows of a graph are reused by `flowq.core.rerun`, those of a program by its history
(`rerun_programs`). A child run is compared in the same way when its step begins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

from flowq.core.errors import InvalidInput
from flowq.core.graph import Graph
from flowq.core.ids import RunId, StepRunId, node_id
from flowq.core.rerun import (
    OldNode,
    Why,
    after,
    changed_arguments,
    compare,
    item_of,
    same_work,
)
from flowq.core.spec import FlowSpec, RerunSpec, StepKind
from flowq.core.states import TERMINAL_RUN_STATES, StepState
from flowq.engine.advance.reuse import is_same_map, missing_objects, reused_row
from flowq.engine.engine import Engine
from flowq.engine.model.programs import ProgramState
from flowq.engine.model.reruns import NewRerun, OldRun, OldStep, PlannedItems, PlannedStep
from flowq.engine.ports import Transaction
from flowq.engine.runs.options import same_json
from flowq.engine.runs.preparing import Reusable, Reuse
from flowq.engine.runs.rerun_programs import copied, history
from flowq.engine.runs.signals import newest


@dataclass(slots=True)
class Comparison:
    """The earlier run, what of it can be used, and what was decided with it."""

    old: OldRun
    rows: Sequence[OldStep]
    program: ProgramState | None
    missing: set[StepRunId]
    fork: str | None = None
    why: dict[str, Why | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def comparison(engine: Engine, old: OldRun) -> Comparison:
    """Read what of an earlier run can be used.

    Raises:
        StoreUnavailable: it cannot be known which results are still there.
    """

    def read(tx: Transaction) -> tuple[list[OldStep], ProgramState | None]:
        program = old.spec.program
        state = tx.steps.program(node_id(old.id, program.key), after=0) if program else None
        return tx.reruns.old_steps(old.id), state

    rows, state = engine.records.autocommit(read)
    return Comparison(old, rows, state, missing_objects(engine, rows))


def reuse_child(engine: Engine, old: RunId | None) -> Reuse | None:
    """Return what finds what a child run reuses of that of the earlier run; None without one.

    A child run that has not ended, because only its parent was stopped, is not reused.
    """
    if old is None:
        return None
    last = newest(engine, old)
    run = engine.records.autocommit(lambda tx: tx.reruns.old_run(last))
    if run is None or run.status not in TERMINAL_RUN_STATES:
        return None
    return partial(reuse, comparison(engine, run))


def reuse(
    found: Comparison, run_id: RunId, spec: FlowSpec, graph: Graph, inputs: Mapping[str, Any]
) -> Reusable:
    """Decide what a rerun reuses from its start; see `Reuse`."""
    if spec.program is not None and found.old.spec.program is not None:
        return _of_program(found, run_id, spec, inputs)
    return _of_graph(found, run_id, spec, graph)


def _of_graph(found: Comparison, run_id: RunId, spec: FlowSpec, graph: Graph) -> Reusable:
    fork = found.fork
    named = _named(fork, spec)
    why = found.why = compare(found.old.spec, spec, graph, _nodes(found), fork)
    ordered = sorted((key for key in why if why[key] is None), key=graph.order.__getitem__)
    rows: dict[str, list[OldStep]] = {}
    for row in found.rows:
        rows.setdefault(row.key, []).append(row)
    reused = [
        reused_row(row, node_id(run_id, key), graph.order[key])
        for key in ordered
        for row in rows[key]
    ]
    fresh: set[str] = set()
    if named is not None and fork is not None:
        later = after(graph, named)
        fresh = {fork} | {
            key for key in later if spec.step(key).map or spec.step(key).kind is StepKind.FLOW
        }
    return Reusable(
        spec.model_copy(
            update={"rerun": RerunSpec(of=found.old.id, fresh=tuple(sorted(fresh)))},
        ),
        NewRerun(found.old.id, tuple(reused)),
        {one.old.key: one.old.status for one in reused if one.old.map_index is None},
    )


def _of_program(
    found: Comparison, run_id: RunId, spec: FlowSpec, inputs: Mapping[str, Any]
) -> Reusable:
    assert found.program is not None
    same = same_json(inputs, found.old.inputs)
    kept = history(
        found.old, found.rows, found.program, found.missing, fork=found.fork, same_inputs=same
    )
    copies = {row.key for row in kept.calls}
    for row in found.rows:
        if row.call is not None and row.map_index is None:
            why = _why_called(found, row, kept.fork)
            is_known = same or found.fork is not None or row.id in found.missing
            if why is Why.DEPENDS and not is_known:
                why = Why.COMPARED
            found.why[row.key] = None if row.key in copies else why
    found.notes.append(_note_of_program(same_inputs=same, has_fork=found.fork is not None))
    if spec.reruns_failures and found.fork is None:
        found.notes.append(
            "Calls after them that have completed are reused if their inputs are the same."
        )
    return Reusable(
        spec.model_copy(update={"rerun": kept.rerun}),
        NewRerun(found.old.id, copied(found.old, run_id, kept.calls, found.rows)),
        observed=len(kept.calls),
    )


def _note_of_program(*, same_inputs: bool, has_fork: bool) -> str:
    if same_inputs:
        return (
            "The program is replayed over the calls that are reused, with the code of now; what it "
            "calls after them is not known before."
        )
    if has_fork:
        return (
            "The inputs of the program differ and the rerun begins at a call, so calls before that "
            "one run again too."
        )
    return (
        "The inputs of the program differ, so it starts again; calls with the same inputs are "
        "reused until the first that differs. Which these are is known when it runs."
    )


def _why_called(found: Comparison, row: OldStep, fork: str | None) -> Why:
    if row.key == fork:
        return Why.UNREADABLE if row.id in found.missing else Why.FORK
    return Why.DEPENDS if row.status is StepState.COMPLETED else Why.OPEN


def _named(fork: str | None, spec: FlowSpec) -> str | None:
    """Return the step that is, or has the item that is, the fork."""
    if fork is None or fork in spec.by_key:
        return fork
    item = item_of(fork)
    if item is not None and item[0] in spec.by_key and spec.step(item[0]).map is not None:
        return item[0]
    raise InvalidInput(
        f"flow {spec.name!r} has no step {fork!r}",
        hint=f"its steps: {', '.join(step.key for step in spec.steps) or 'none'}",
    )


def _nodes(found: Comparison) -> dict[str, OldNode]:
    broken = {
        row.key
        for row in found.rows
        if row.map_index is not None and row.status is not StepState.COMPLETED
    }
    gone = {row.key for row in found.rows if row.id in found.missing}
    return {
        row.key: OldNode(row.status, row.key not in broken, row.key not in gone)
        for row in found.rows
        if row.map_index is None
    }


def planned(
    found: Comparison, spec: FlowSpec, key: str, name: str, rows: Sequence[OldStep]
) -> PlannedStep:
    """Return what a rerun does with a step, for its preview.

    Args:
        found: What was decided, by `reuse`.
        spec: The spec of the rerun.
        key: The key of the step.
        name: The registered name of what it runs.
        rows: Its rows in the earlier run: the node, and its items.
    """
    node = next((row for row in rows if row.map_index is None), None)
    items = None
    if node is not None and node.map_size is not None:
        items = _planned_items(found, spec, key, rows)
    saved = rows
    if found.why[key] is not None:
        certain = set(items.reused) if items is not None else set()
        saved = [row for row in rows if row.map_index in certain]
    return PlannedStep(
        key,
        name,
        found.why[key],
        items,
        state=None if node is None else node.status,
        tokens=sum(row.tokens for row in rows),
        cost=sum((row.cost for row in rows), Decimal(0)),
        saved_tokens=sum(row.tokens for row in saved),
        saved_cost=sum((row.cost for row in saved), Decimal(0)),
    )


def _planned_items(
    found: Comparison, spec: FlowSpec, key: str, rows: Sequence[OldStep]
) -> PlannedItems:
    indexes = [row.map_index for row in rows if row.map_index is not None]
    if found.why[key] is None:
        return PlannedItems(reused=tuple(indexes))
    fresh = set() if spec.rerun is None else set(spec.rerun.fresh)
    usable = [
        row.map_index
        for row in rows
        if row.map_index is not None
        and row.status is StepState.COMPLETED
        and row.id not in found.missing
        and fresh.isdisjoint({key, f"{key}[{row.map_index}]"})
    ]
    runs = tuple(sorted(set(indexes) - set(usable)))
    step, known = spec.by_key.get(key), found.old.spec.by_key.get(key)
    if step is None or known is None:  # a call of a program: its inputs are not known before
        return PlannedItems(maybe=tuple(usable), runs=runs)
    if not is_same_map(known, step):
        return PlannedItems(runs=tuple(indexes))
    changed = changed_arguments(found.old.spec, known, spec, step)
    if changed:
        return PlannedItems(runs=tuple(indexes), changed=changed)
    before = Graph.of(spec).dependencies[key]
    is_certain = all(found.why[one] is None for one in before) and same_work(
        found.old.spec, known, spec, step
    )
    if is_certain:
        return PlannedItems(reused=tuple(usable), runs=runs)
    return PlannedItems(maybe=tuple(usable), runs=runs)
