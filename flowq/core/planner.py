"""The planner: from a spec and the states of its steps to the next actions. Pure.

It decides about steps whose dependencies have all ended, each independently:

    a dependency failed, without `allow_failure`  → cancel (it cannot run any more)
    a dependency was cancelled                    → cancel
    a dependency was skipped                      → skip, unless the step accepts that
    its condition is not known yet                → evaluate it, then ask again
    its condition is false                        → skip
    it is a map                                   → expand it into its items
    otherwise                                     → queue it, in a batch of the same dependents

Skipped and cancelled steps have ended too, so after a plan is applied their dependents are decided
next. A decision depends only on the ended dependencies, so the order in which steps complete cannot
change the outcome of a run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from flowq.core.graph import Graph
from flowq.core.spec import FailurePolicy, FlowSpec, StepSpec
from flowq.core.states import RunState, StepState


class Action(StrEnum):
    """What to do with a step whose dependencies have all ended."""

    QUEUE = "queue"
    EXPAND = "expand"
    EVALUATE = "evaluate"
    SKIP = "skip"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Plan:
    """The next actions.

    Attributes:
        batches: Steps to queue; each tuple is one batch.
        expand: Maps to expand into items.
        evaluate: Steps whose condition must be known before they are decided.
        skip: Steps to mark as skipped.
        cancel: Steps to mark as cancelled, since something before them failed.
    """

    batches: tuple[tuple[str, ...], ...] = ()
    expand: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()


def plan(
    spec: FlowSpec,
    graph: Graph,
    ready: Iterable[str],
    states: Mapping[str, StepState],
    conditions: Mapping[str, bool],
) -> Plan:
    """Decide about every step in `ready`.

    Args:
        ready: Keys of pending steps whose dependencies have all ended.
        states: States of at least those dependencies.
        conditions: Values of the conditions that have been evaluated.
    """
    chosen: dict[Action, list[str]] = {action: [] for action in Action}
    for key in sorted(ready, key=graph.order.__getitem__):
        ended = {name: states[name] for name in graph.dependencies[key]}
        chosen[_decide(spec, spec.step(key), ended, condition=conditions.get(key))].append(key)
    return Plan(
        batches=tuple(graph.batches(chosen[Action.QUEUE])),
        expand=tuple(chosen[Action.EXPAND]),
        evaluate=tuple(chosen[Action.EVALUATE]),
        skip=tuple(chosen[Action.SKIP]),
        cancel=tuple(chosen[Action.CANCEL]),
    )


def _decide(
    spec: FlowSpec,
    step: StepSpec,
    ended: Mapping[str, StepState],
    *,
    condition: bool | None,
) -> Action:
    good = skipped = 0
    for name, state in ended.items():
        if state is StepState.SKIPPED:
            skipped += 1
        elif state is StepState.COMPLETED or (
            state is StepState.FAILED and spec.step(name).allow_failure
        ):
            good += 1
        else:
            return Action.CANCEL
    if skipped and not (step.accept_skipped and good):
        return Action.SKIP
    if step.when is not None:
        if condition is None:
            return Action.EVALUATE
        if not condition:
            return Action.SKIP
    return Action.EXPAND if step.map else Action.QUEUE


def map_outcome(step: StepSpec, counts: Mapping[StepState, int]) -> StepState | None:
    """Decide how a map ends.

    Args:
        counts: How many of its items are in each state.

    Returns:
        The state of the map, or None while it depends on items that have not ended.
    """
    assert step.map is not None
    total = sum(counts.values())
    failed = counts.get(StepState.FAILED, 0)
    if not step.map.tolerance.allows(failed=failed, total=total):
        return StepState.FAILED
    ended = {StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED}
    if any(count and state not in ended for state, count in counts.items()):
        return None
    return StepState.CANCELLED if counts.get(StepState.CANCELLED) else StepState.COMPLETED


def stops_run(spec: FlowSpec, step: StepSpec) -> bool:
    """Return whether the failure of this step stops the run immediately."""
    return spec.on_failure is FailurePolicy.FAIL_FAST and not step.allow_failure


def run_outcome(spec: FlowSpec, failed: Iterable[str], *, cancel_requested: bool) -> RunState:
    """Decide how a run ends, once all its steps have.

    Args:
        failed: Keys of the steps that failed.
        cancel_requested: Whether someone asked to cancel the run before it ended.
    """
    if any(not spec.step(key).allow_failure for key in failed):
        return RunState.FAILED
    return RunState.CANCELLED if cancel_requested else RunState.COMPLETED
