"""The graph of a flow as lines of text: dependencies, and the steps that are ready together.

A graph has joins, and a tree does not. So each step is below the last of its dependencies and names
the others. A chain is a vertical line; only a branch is indented.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flowq.core.expressions import describe
from flowq.core.graph import Graph
from flowq.core.references import as_reference
from flowq.core.spec import MapSpec, StepKind, StepSpec

#: The maximum indentation; terminals are not wide enough for more.
_MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Line:
    """One step in the tree."""

    key: str
    prefix: str  #: Its prefix: the branches of the tree.
    also: tuple[str, ...]  #: Its other dependencies.


def levels(graph: Graph) -> list[list[str]]:
    """Return the steps by their depth: the number of steps on the longest path to them."""
    depth = depths(graph)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for key in graph.order:
        rows[depth[key]].append(key)
    return rows


def depths(graph: Graph) -> dict[str, int]:
    """Return the number of steps on the longest path to each step."""
    depth: dict[str, int] = {}
    for key in _sorted(graph):
        depth[key] = max((depth[name] + 1 for name in graph.dependencies[key]), default=0)
    return depth


def batches(graph: Graph) -> list[tuple[str, ...]]:
    """Return the batches of a run in which every level ends before the next begins."""
    return [batch for level in levels(graph) for batch in graph.batches(level)]


def lines(graph: Graph) -> list[Line]:
    """Return the tree, one line for each step."""
    depth = depths(graph)
    parents: dict[str, str | None] = {}
    children: dict[str | None, list[str]] = {}
    for key in graph.order:
        before = graph.dependencies[key]
        parent = max(before, key=lambda name: (depth[name], graph.order[name]), default=None)
        parents[key] = parent
        children.setdefault(parent, []).append(key)
    return list(_walk(graph, parents, children))


def _walk(
    graph: Graph, parents: Mapping[str, str | None], children: Mapping[str | None, list[str]]
) -> Iterator[Line]:
    # No recursion: a chain may have thousands of steps.
    waiting = [(key, "", "") for key in reversed(children.get(None, []))]
    while waiting:
        key, prefix, below = waiting.pop()
        also = tuple(name for name in graph.dependencies[key] if name != parents[key])
        yield Line(key, prefix, also)
        after = children.get(key, [])
        if len(after) == 1 or len(below) >= 3 * _MAX_DEPTH:
            waiting += [(name, f"{below}╰─ ", below + "   ") for name in reversed(after[1:])]
            waiting += [(name, f"{below}", below) for name in after[:1]]
            continue
        for name in reversed(after):
            last = name == after[-1]
            branch, pass_by = ("╰─ ", "   ") if last else ("├─ ", "│  ")
            waiting.append((name, below + branch, below + pass_by))


def _sorted(graph: Graph) -> Iterator[str]:
    """Yield each step after those that it waits for."""
    open_ = {key: len(names) for key, names in graph.dependencies.items()}
    ready = [key for key, number in open_.items() if not number]
    for key in ready:
        yield key
        for name in graph.dependents[key]:
            open_[name] -= 1
            if not open_[name]:
                ready.append(name)


def facts(step: StepSpec) -> list[str]:
    """Return what is special about a step, in words."""
    found = [f"child run of {step.name}"] if step.kind is StepKind.FLOW else []
    if step.map is not None:
        found += _map_facts(step.map)
    if step.when is not None:
        found.append(f"when {describe(step.when)}")
    if step.retry.max_attempts > 1:
        found.append(f"{step.retry.max_attempts} attempts")
    if step.timeout is not None:
        found.append(f"timeout {step.timeout.total_seconds():g} s")
    if step.queue is not None:
        found.append(f"queue {step.queue}")
    if step.allow_failure:
        found.append("may fail")
    if step.accept_skipped:
        found.append("accepts skipped")
    return found


def _map_facts(mapped: MapSpec) -> list[str]:
    source = as_reference(mapped.items)
    found = [f"map over {source}" if source else f"map over {len(mapped.items):,} items"]
    if mapped.tolerance.percent is not None:
        found.append(f"tolerates {mapped.tolerance.percent:g}%")
    elif mapped.tolerance.count:
        found.append(f"tolerates {mapped.tolerance.count}")
    return found
