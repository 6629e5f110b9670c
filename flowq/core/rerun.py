"""What a rerun reuses of an earlier run: a pure comparison of two graphs.

A step of the new graph is reused if the old run has completed the same step (key, name, inputs,
condition, version of its cache) and if all steps before it are reused too: then its inputs are the
same values. A step that was skipped is reused in the same sense, if also the steps before it, and
whether it accepts that they are skipped, are the same: it would be skipped again. All other steps
run. From a step on (`fork`), that step and everything after it run.

What is only known while the new run runs, the items of a list that is made again, is compared when
that list is known.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter
from typing import Any, Final

from flowq.core.graph import Graph
from flowq.core.references import Reference, references, resolve
from flowq.core.spec import FlowSpec, StepSpec
from flowq.core.states import StepState

_ITEM: Final = re.compile(r"(.+)\[(\d+)\]")


class Why(StrEnum):
    """Why a step of a rerun runs, though there is an earlier run."""

    FORK = "fork"  #: The rerun was asked to begin with it.
    NEW = "new"  #: The earlier run has no such step.
    CHANGED = "changed"  #: It has another name, other inputs or another condition there.
    OPEN = "open"  #: It has not completed there.
    UNREADABLE = "unreadable"  #: Its result cannot be read any more.
    DEPENDS = "depends"  #: A step before it runs.
    #: Of a program: it runs unless the program makes the same calls up to it; known when it runs.
    COMPARED = "compared"


@dataclass(frozen=True, slots=True)
class OldNode:
    """A node of the earlier run.

    Attributes:
        state: Its state.
        is_whole: Whether it, and each item of a map, has completed.
        is_readable: Whether its result, and that of each item, is there.
    """

    state: StepState
    is_whole: bool = True
    is_readable: bool = True


def item_of(key: str) -> tuple[str, int] | None:
    """Return the map and the index that `fetch[3]` names; None for any other key."""
    found = _ITEM.fullmatch(key)
    return None if found is None else (found[1], int(found[2]))


def compare(
    old: FlowSpec,
    new: FlowSpec,
    graph: Graph,
    nodes: Mapping[str, OldNode],
    fork: str | None = None,
) -> dict[str, Why | None]:
    """Decide about each step of a rerun.

    Args:
        old: The spec of the earlier run.
        new: The spec of the rerun.
        graph: The graph of the rerun.
        nodes: The nodes of the earlier run, by key.
        fork: The key of a step of the rerun, or of an item of its map: it and all after it run.

    Returns:
        From each key, in an order in which dependencies come first, to why the step runs; None if
        it is reused.
    """
    forked = None if fork is None else (item_of(fork) or (fork,))[0]
    if forked not in new.by_key:
        forked = fork
    before = Graph.of(old).dependencies
    decided: dict[str, Why | None] = {}
    for key in TopologicalSorter(graph.dependencies).static_order():
        if key == forked:
            decided[key] = Why.FORK
        elif any(decided[name] is not None for name in graph.dependencies[key]):
            decided[key] = Why.DEPENDS
        else:
            has_same_before = set(graph.dependencies[key]) == set(before.get(key, ()))
            decided[key] = _alone(
                old, new, new.step(key), nodes.get(key), has_same_before=has_same_before
            )
    return decided


def after(graph: Graph, key: str) -> set[str]:
    """Return the keys of all steps that depend on a step, directly or not."""
    found: set[str] = set()
    ahead = [key]
    while ahead:
        more = [one for one in graph.dependents[ahead.pop()] if one not in found]
        found.update(more)
        ahead += more
    return found


def _alone(
    old: FlowSpec, new: FlowSpec, step: StepSpec, node: OldNode | None, *, has_same_before: bool
) -> Why | None:
    """Decide about a step whose dependencies are all reused."""
    known = old.by_key.get(step.key)
    if known is None or node is None:
        return Why.NEW
    if not same_work(old, known, new, step):
        return Why.CHANGED
    if node.state is StepState.SKIPPED:
        is_same = has_same_before and known.accept_skipped == step.accept_skipped
        return None if is_same else Why.CHANGED
    if node.state is not StepState.COMPLETED or not node.is_whole:
        return Why.OPEN
    return None if node.is_readable else Why.UNREADABLE


def same_work(old: FlowSpec, known: StepSpec, new: FlowSpec, step: StepSpec) -> bool:
    """Return whether two steps of two specs do the same, also with the given values they read."""
    return same_step(known, step) and _given(old, known) == _given(new, step)


def changed_arguments(
    old: FlowSpec, known: StepSpec, new: FlowSpec, step: StepSpec
) -> tuple[str, ...]:
    """Return the arguments of a step that are known to differ before it begins.

    One that reads the result of a step is not known: another template may have an equal value.
    """
    names = sorted(known.arguments.keys() | step.arguments.keys())
    found = []
    for name in names:
        if name not in known.arguments or name not in step.arguments:
            found.append(name)
            continue
        before, now = _known(old, known.arguments[name]), _known(new, step.arguments[name])
        if before is not None and now is not None and before != now:
            found.append(name)
    return tuple(found)


def _known(spec: FlowSpec, template: Any) -> str | None:
    """Return the value of a template as text; None if it reads a step, or a part of a value."""
    if any(ref.path or ref.step not in spec.given for ref in references(template)):
        return None

    def find(reference: Reference) -> Any:
        ref = spec.given[reference.step]
        return [ref.codec, ref.sha256]

    return json.dumps(resolve(template, find), sort_keys=True, default=repr)


def same_step(one: StepSpec, other: StepSpec) -> bool:
    """Return whether two steps do the same with the same results of the steps before them.

    Retries, timeouts, queues and limits may differ: a result does not depend on them.
    """
    return _text(one) == _text(other)


def _text(step: StepSpec) -> str:
    """Return what a step does as text: 1, 1.0 and True are equal values, and other inputs."""
    return json.dumps(_work(step), sort_keys=True, default=repr)


def _work(step: StepSpec) -> tuple[Any, ...]:
    mapped = None if step.map is None else (step.map.parameter, step.map.items)
    version = None if step.cache is None else step.cache.version
    return (step.kind, step.name, step.arguments, mapped, step.when, version)


def _given(spec: FlowSpec, step: StepSpec) -> dict[str, tuple[str, str]]:
    """Return the given values that a step reads, as digests."""
    read = [step.arguments, step.map.items if step.map else None, step.when]
    named = {ref.step for ref in references(read)} & spec.given.keys()
    return {key: (spec.given[key].codec, spec.given[key].sha256) for key in named}
