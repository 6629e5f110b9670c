"""Workflows of nodes: functions that get the state and return what is merged into it.

    NodeWorkflow("chat", [Node("fetch", fetch), Node("rank", rank), Node("answer", answer,
        after=("fetch", "rank"))])

Any object with `nodes`, and perhaps `edges` as pairs of names, is a workflow too. A `Plan` is what
executors run: the nodes in an order in which each comes after those that it names.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Self

from flowq.authoring.definitions.steps import Step
from flowq.core.text.json_values import flaw_of_text
from flowq.pipeline.errors import NotExecutable
from flowq.pipeline.importing import find_own, name_of

#: A row's key has the place of the call behind the name.
_MAX_NAME = 150


@dataclass(frozen=True)
class Node:
    """A node of a workflow.

    Attributes:
        name: Unique in its workflow.
        func: Gets the state; what it returns, if a mapping, is merged into it. It may be async, or
            a flowq step, whose own options apply.
        after: Names of nodes that must be finished before it begins.
        timeout: For it, as a timedelta or in seconds; in recorded runs.
    """

    name: str
    func: Callable[..., Any] | None = None
    after: tuple[str, ...] = ()
    timeout: timedelta | float | None = None

    def __post_init__(self) -> None:
        name: Any = self.name
        if not (isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable()):
            raise NotExecutable(
                f"the name of a node is {str(name)[:60]!r}",
                hint=f"give a line of text of 1 to {_MAX_NAME} characters",
            )
        if set(name) & set("#[]") or flaw_of_text(name) is not None:
            raise NotExecutable(
                f"the name of node {name!r} has a character that keys of rows cannot have",
                hint="leave out #, [ and ]",
            )
        after: Any = self.after
        one = isinstance(after, str)
        object.__setattr__(self, "after", (after,) if one else tuple(after))


class NodeWorkflow:
    """A workflow of nodes.

    Args:
        name: Its name.
        nodes: Its nodes; their order is that in which results are merged.
        edges: Pairs of names, `(before, after)`, beside what nodes say themselves.

    Raises:
        NotExecutable: two nodes have one name, one comes after an unknown one or after itself.
    """

    def __init__(
        self, name: str, nodes: Iterable[Node], *, edges: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.name = name
        self.nodes = tuple(nodes)
        self.edges = tuple(edges)
        self.plan = Plan.of_nodes(name, self.nodes, self.edges)

    @property
    def parallel_capable(self) -> bool:
        """Whether some of its nodes could run at the same time."""
        return self.plan.groups < len(self.nodes)


@dataclass(frozen=True)
class Plan:
    """Nodes in an order in which they can run one after the other."""

    name: str
    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, workflow: Any) -> Self:
        """Return the plan of a workflow.

        Raises:
            NotExecutable: it has no nodes, or they do not fit together.
        """
        known, given = getattr(workflow, "plan", None), getattr(workflow, "nodes", None)
        if isinstance(given, Mapping):
            raise NotExecutable(
                f"a {type(workflow).__qualname__} is no workflow of nodes",
                hint="LangGraphExecutor() executes graphs",
            )
        if isinstance(known, cls):
            plan = known
        else:
            nodes = [_node(one) for one in given or ()]
            name = str(getattr(workflow, "name", None) or type(workflow).__name__)
            edges = [_edge(one) for one in getattr(workflow, "edges", None) or ()]
            plan = cls.of_nodes(name, nodes, edges)
        if not plan.nodes:
            raise NotExecutable("Workflow has no nodes to execute")
        for node in plan.nodes:
            if not callable(node.func):
                raise NotExecutable(f"Node {node.name} has no executable function")
        return plan

    @classmethod
    def of_nodes(
        cls, name: str, nodes: Sequence[Node], edges: Iterable[tuple[str, str]] = ()
    ) -> Self:
        """Order nodes, so that each comes after those that it names; else they stay as they are.

        Raises:
            NotExecutable: that is not possible.
        """
        names = [node.name for node in nodes]
        for one in names:
            if names.count(one) > 1:
                raise NotExecutable(f"workflow {name!r} has two nodes named {one!r}")
        pairs = [*((before, node.name) for node in nodes for before in node.after), *edges]
        for before, after in pairs:
            for one in (before, after):
                if one not in names:
                    known = ", ".join(names)
                    raise NotExecutable(
                        f"workflow {name!r}: {after!r} comes after {before!r}, and there is no "
                        f"node {one!r}",
                        hint=f"its nodes are {known}",
                    )
        left = [
            replace(node, after=tuple(dict.fromkeys(a for a, b in pairs if b == node.name)))
            for node in nodes
        ]
        ordered: dict[str, Node] = {}
        while left:
            ready = next((one for one in left if all(a in ordered for a in one.after)), None)
            if ready is None:
                stuck = ", ".join(node.name for node in left)
                raise NotExecutable(
                    f"workflow {name!r}: nodes wait for each other in a circle: {stuck}"
                )
            left.remove(ready)
            ordered[ready.name] = ready
        return cls(name, tuple(ordered.values()))

    @property
    def groups(self) -> int:
        """How many nodes come after each other on the longest way through the workflow."""
        level: dict[str, int] = {}
        for node in self.nodes:
            level[node.name] = 1 + max((level[one] for one in node.after), default=0)
        return max(level.values(), default=0)

    def before(self) -> Mapping[str, tuple[str, ...]]:
        """Return, for each node, all nodes that end before it begins, in their order."""
        found: dict[str, set[str]] = {}
        for node in self.nodes:
            found[node.name] = set(node.after).union(*(found[one] for one in node.after))
        order = [node.name for node in self.nodes]
        return {name: tuple(one for one in order if one in found[name]) for name in order}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data, with functions by their names.

        Raises:
            NotExecutable: a worker could not find a function.
        """
        return {"name": self.name, "nodes": [_as_json(node) for node in self.nodes]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the plan of `to_json`, without the functions."""
        nodes = (Node(one["name"], after=tuple(one["after"])) for one in data["nodes"])
        return cls(data["name"], tuple(nodes))


def _as_json(node: Node) -> dict[str, Any]:
    function = name_of(node.func)
    if function is None:
        raise NotExecutable(
            f"Node {node.name} has no executable function that a worker could find",
            hint="define it with `def` at the top of a module; in tests give the executor "
            "recorded=False",
        )
    find_own(function)
    limit = node.timeout
    return {
        "name": node.name,
        "function": function,
        "after": list(node.after),
        "timeout": limit.total_seconds() if isinstance(limit, timedelta) else limit,
        "is_step": isinstance(node.func, Step),
    }


def _node(given: Any) -> Node:
    if isinstance(given, Node):
        return given

    def of(*names: str) -> Any:
        get = given.get if isinstance(given, Mapping) else partial(getattr, given)
        return next((found for name in names if (found := get(name, None)) is not None), None)

    return Node(of("name", "id"), of("func", "function"), of("after") or (), of("timeout"))


def _edge(given: Any) -> tuple[str, str]:
    if isinstance(given, Mapping):
        return given["source"], given["target"]
    if isinstance(given, Sequence) and len(given) == 2:
        return given[0], given[1]
    return given.source, given.target
