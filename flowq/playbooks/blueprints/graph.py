"""The graph of a blueprint: what follows what, what goes in circles, and what is wrong with it.

A cycle needs a `loop` node. The edges out of a loop are its body or its exit: the body leads back
to the loop through nodes that are reached through it only. That is found from the graph; conditions
`continue` and `exit` say it where the graph leaves it open.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import Any, Final

from flowq.playbooks.blueprints.models import Blueprint, Edge, Node
from flowq.playbooks.blueprints.problems import Problem

START: Final = "start"
END: Final = "end"
HANDLER: Final = "error_handler"
#: Types of nodes that call something, and can fail.
CALLS: Final = frozenset(("step", "tool", "model", "memory", "retrieval"))
_BODY: Final = frozenset(("continue", "body", "true"))
_EXIT: Final = frozenset(("exit", "done", "false"))
_ELSE: Final = frozenset(("", "else", "default"))
_Followers = Callable[[str], Iterable[str]]


class Graph:
    """The nodes and edges of a blueprint; edges to nodes that do not exist are left out."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._bodies: dict[str, set[str]] = {}
        self.nodes: dict[str, Node] = {}
        for node in blueprint.nodes:
            self.nodes.setdefault(node.id, node)
        self.out: dict[str, list[Edge]] = {name: [] for name in self.nodes}
        self.sources: dict[str, set[str]] = {name: set() for name in self.nodes}
        for edge in blueprint.edges:
            if edge.source in self.nodes and edge.target in self.nodes:
                self.out[edge.source].append(edge)
                self.sources[edge.target].add(edge.source)

    def after(self, name: str) -> Iterator[str]:
        """Yield the nodes that the edges of a node lead to."""
        return (edge.target for edge in self.out[name])

    def of_type(self, *types: str) -> list[Any]:
        """Return the nodes of some types, in their order."""
        return [node for node in self.nodes.values() if node.type in types]

    @cached_property
    def roots(self) -> list[str]:
        """Where an instance can come to without an edge."""
        starts = [node.id for node in self.of_type(START)]
        return starts + [node.id for node in self.of_type(HANDLER) if not self.sources[node.id]]

    def handler_of(self, node: Node) -> str | None:
        """Return the error handler that a failure of a node leads to."""
        own = (one for one in self.after(node.id) if self.nodes[one].type == HANDLER)
        found = next(own, None)
        if found is None and self._catches_all is not None and node.id not in self._after_failure:
            found = self._catches_all
        return found

    @cached_property
    def _catches_all(self) -> str | None:
        return next((one for one in self.roots if self.nodes[one].type == HANDLER), None)

    @cached_property
    def _after_failure(self) -> set[str]:
        return reached([self._catches_all], self.after) if self._catches_all else set()

    def body(self, loop: str) -> set[str]:
        """Return the nodes between a loop and its edges back."""
        if loop not in self._bodies:
            outside = reached(self.roots, lambda name: self.after(name) if name != loop else ())
            back = [one for one in self.sources[loop] if one == loop or one not in outside]
            inside = reached(back, lambda name: self.sources[name] if name != loop else ())
            self._bodies[loop] = inside
        return self._bodies[loop]

    def sides(self, loop: str) -> tuple[list[Edge], list[Edge]]:
        """Return the edges of a loop's body, and those of its exit."""
        inside = self.body(loop)
        sides: tuple[list[Edge], list[Edge]] = [], []
        for edge in self.out[loop]:
            said = word(edge.condition)
            is_body = edge.target in inside if said in _ELSE else said in _BODY
            sides[not is_body].append(edge)
        return sides


def word(condition: str | None) -> str:
    """Return a condition of one word in small letters; no condition is an empty word."""
    return (condition or "").strip().lower()


def is_else(condition: str | None) -> bool:
    """Return whether an edge is taken when no other one is."""
    return word(condition) in _ELSE


def reached(begin: Iterable[str], followers: _Followers) -> set[str]:
    """Return the nodes that can be reached, with those where it begins."""
    seen = set(begin)
    waiting = deque(seen)
    while waiting:
        for name in followers(waiting.popleft()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen


# --- what is wrong --------------------------------------------------------------------------------


def problems(blueprint: Blueprint, known_steps: Collection[str]) -> Iterator[Problem]:
    """Yield what is wrong with the graph of a blueprint.

    Args:
        blueprint: Its shape is right.
        known_steps: The step types of this process.
    """
    graph = Graph(blueprint)
    yield from _of_ids(blueprint)
    yield from _of_edges(blueprint, graph)
    starts = len(graph.of_type(START))
    if starts != 1:
        yield Problem("nodes", f"needs one node of the type 'start'; there are {starts}")
    yield from _of_handlers(blueprint, graph)
    is_reached = reached(graph.roots, graph.after)
    for at, node in enumerate(blueprint.nodes):
        path = f"nodes[{at}]"
        if starts and node.id not in is_reached:
            yield Problem(path, f"no edge leads from the start to {node.id!r}; it never runs")
        if node.type == "conditional" and not graph.out[node.id]:
            yield Problem(path, f"the conditional {node.id!r} has no edges to choose from")
        if node.type == "loop":
            yield from _of_loop(node.id, path, graph)
        if node.type in ("memory", "retrieval"):
            slug = node.config.slug or node.type
            if slug not in known_steps:
                text = (
                    f"no step type {slug!r} is registered; nodes of the type {node.type!r} need it"
                )
                yield Problem(path, f"{text}, see @flowq.step(name={slug!r})")
    if circle := _circle(graph):
        path = " -> ".join(circle)
        yield Problem("edges", f"{path} is a cycle without a node of the type 'loop'")


def _of_ids(blueprint: Blueprint) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for at, node in enumerate(blueprint.nodes):
        path = f"nodes[{at}].id"
        if node.id in seen:
            yield Problem(path, f"{node.id!r} is the id of nodes[{seen[node.id]}]; ids are unique")
        seen.setdefault(node.id, at)
        if node.id in (START, END) and node.type != node.id:
            yield Problem(path, f"{node.id!r} is kept for the node of that type")


def _of_edges(blueprint: Blueprint, graph: Graph) -> Iterator[Problem]:
    counts = Counter((one.source, one.target, one.condition) for one in blueprint.edges)
    for at, edge in enumerate(blueprint.edges):
        path = f"edges[{at}]"
        for side in ("source", "target"):
            if getattr(edge, side) not in graph.nodes:
                yield Problem(f"{path}.{side}", f"there is no node {getattr(edge, side)!r}")
        if counts.pop((edge.source, edge.target, edge.condition), 0) > 1:
            yield Problem(path, "is there twice")
        source, target = graph.nodes.get(edge.source), graph.nodes.get(edge.target)
        if target is not None and target.type == START:
            yield Problem(f"{path}.target", "no edge leads to the start")
        if source is None:
            continue
        if source.type == END:
            yield Problem(f"{path}.source", "no edge leads out of an end")
        yield from _of_condition(edge, source, f"{path}.condition")


def _of_condition(edge: Edge, source: Node, path: str) -> Iterator[Problem]:
    said = word(edge.condition)
    if source.type == "conditional":
        if source.config.condition is not None and said not in ("true", "false"):
            yield Problem(path, "must be 'true' or 'false': the conditional has the condition")
    elif source.type == "loop":
        if said not in _BODY | _EXIT | _ELSE:
            yield Problem(path, "must be 'continue' or 'exit'; the loop itself has a condition")
    elif edge.condition is not None:
        yield Problem(path, f"{edge.source!r} is a {source.type}; a conditional has conditions")


def _of_handlers(blueprint: Blueprint, graph: Graph) -> Iterator[Problem]:
    alone = []
    for at, node in enumerate(blueprint.nodes):
        if node.type != HANDLER:
            continue
        if not graph.sources[node.id]:
            alone.append(at)
        for source in sorted(graph.sources[node.id]):
            if (kind := graph.nodes[source].type) not in CALLS:
                text = (
                    f"handles failures of {source!r}, but a node of the type {kind!r} never fails"
                )
                yield Problem(f"nodes[{at}]", text)
    if len(alone) > 1:
        text = "is the second error_handler without an edge to it; one can handle all failures"
        yield Problem(f"nodes[{alone[1]}]", text)
    for node in graph.of_type(*CALLS):
        handlers = [one for one in graph.after(node.id) if graph.nodes[one].type == HANDLER]
        if len(handlers) > 1:
            yield Problem("edges", f"{node.id!r} has {len(handlers)} error handlers; keep one")


def _of_loop(name: str, path: str, graph: Graph) -> Iterator[Problem]:
    body, leave = graph.sides(name)
    if not body:
        text = f"no edge of the loop {name!r} leads back to it through nodes of its own"
        yield Problem(path, f"{text}; if one does, give it the condition 'continue'")
    inside = graph.body(name)
    for edge in leave:
        if edge.target in inside:
            yield Problem(path, f"the exit to {edge.target!r} leads back into the loop {name!r}")


def _circle(graph: Graph) -> list[str]:
    """Return a cycle without loops, its first node again at the end; none is an empty list."""
    plain = [name for name, node in graph.nodes.items() if node.type != "loop"]
    known = set(plain)
    left = {name: [one for one in graph.after(name) if one in known] for name in plain}
    counts = Counter(target for targets in left.values() for target in targets)
    waiting = deque(name for name in plain if not counts[name])
    while waiting:
        for target in left.pop(waiting.popleft()):
            counts[target] -= 1
            if not counts[target]:
                waiting.append(target)
    # What is left is on a cycle or behind one: go backwards, and a node comes again.
    before = {
        target: name for name, targets in left.items() for target in targets if target in left
    }
    path: dict[str, None] = {}
    name = next(iter(left), None)
    while name is not None and name not in path:
        path[name] = None
        name = before[name]
    names = list(path)
    return [] if name is None else [*names[names.index(name) :], name][::-1]
