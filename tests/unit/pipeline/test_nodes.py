"""Workflows of nodes: their order, their levels, and what is refused."""

import asyncio
import functools
import json
import os
import subprocess
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.pipeline import Node, NodeWorkflow, NotExecutable
from flowq.pipeline.executing.running import run_plan
from flowq.pipeline.importing import find, name_of
from flowq.pipeline.nodes import Plan


def nothing(state: Any) -> None:
    """Do nothing."""


class Holder:
    @staticmethod
    def method(state: Any) -> None:
        """Do nothing."""

    def bound(self, state: Any) -> None:
        """Do nothing."""


HELD = Holder()


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Nodes in any order, each after some of those with smaller numbers."""
    count = draw(st.integers(1, 8))
    after = [
        draw(st.lists(st.integers(0, number - 1), unique=True)) if number else []
        for number in range(count)
    ]
    nodes = [Node(f"n{one}", nothing, tuple(f"n{a}" for a in after[one])) for one in range(count)]
    return draw(st.permutations(nodes))


@given(graphs())
def test_each_node_comes_after_those_that_it_names(nodes: list[Node]) -> None:
    plan = Plan.of(NodeWorkflow("w", nodes))
    place = {node.name: at for at, node in enumerate(plan.nodes)}

    assert sorted(place) == sorted(node.name for node in nodes)
    assert all(place[one] < place[node.name] for node in plan.nodes for one in node.after)
    assert plan.nodes[0] == next(node for node in nodes if not node.after)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert [(one.name, one.after) for one in again.nodes] == [
        (one.name, one.after) for one in plan.nodes
    ]


@given(graphs(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_result_does_not_depend_on_which_node_is_faster(
    nodes: list[Node], most: int, random: Any
) -> None:
    """Nodes see what those before them have returned, and nothing else."""
    plan, running, seen = Plan.of(NodeWorkflow("w", nodes)), [0, 0], {}

    async def call(node: Node, parts: Sequence[Any]) -> Any:
        running[0] += 1
        running[1] = max(running)
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        running[0] -= 1
        seen[node.name] = [next(iter(part)) for part in parts]
        return {node.name: 1}

    returned = asyncio.run(run_plan(plan, {"given": 1}, call, most))

    assert [{node.name: 1} for node in plan.nodes] == returned
    assert running[1] <= most
    assert {name: ["given", *before] for name, before in plan.before().items()} == seen


def test_levels_are_counted() -> None:
    diamond = NodeWorkflow(
        "d",
        [
            Node("a", nothing),
            Node("b", nothing, ("a",)),
            Node("c", nothing, ("a",)),
            Node("d", nothing, ("b", "c")),
        ],
    )
    chain = NodeWorkflow("c", [Node("a", nothing), Node("b", nothing)], edges=[("a", "b")])

    assert (diamond.plan.groups, diamond.parallel_capable) == (3, True)
    assert (chain.plan.groups, chain.parallel_capable) == (2, False)


def test_any_object_with_nodes_is_a_workflow() -> None:
    own = SimpleNamespace(
        nodes=[{"id": "a", "function": nothing}, SimpleNamespace(name="b", func=nothing)],
        edges=[{"source": "b", "target": "a"}],
    )

    plan = Plan.of(own)
    assert [("b", ()), ("a", ("b",))] == [(one.name, one.after) for one in plan.nodes]


@pytest.mark.parametrize(
    "workflow, message",
    [
        (SimpleNamespace(nodes=[]), "Workflow has no nodes to execute"),
        (object(), "Workflow has no nodes to execute"),
        (SimpleNamespace(nodes=[Node("x")]), "Node x has no executable function"),
        (
            SimpleNamespace(nodes={"x": nothing}),
            "a SimpleNamespace is no workflow of nodes\n.*LangGraphExecutor.*",
        ),
    ],
)
def test_what_cannot_run_is_refused(workflow: Any, message: str) -> None:
    with pytest.raises(NotExecutable, match=f"^{message}$"):
        Plan.of(workflow)


@pytest.mark.parametrize(
    "nodes, message",
    [
        ([Node("a"), Node("a")], "two nodes named 'a'"),
        ([Node("a", after=("b",))], "there is no node 'b'"),
        ([Node("a", after=("a",))], "in a circle: a"),
        ([Node("a", after=("b",)), Node("b", after=("a",)), Node("c")], "in a circle: a, b"),
    ],
)
def test_nodes_that_do_not_fit_together_are_refused(nodes: list[Node], message: str) -> None:
    with pytest.raises(NotExecutable, match=message):
        NodeWorkflow("w", nodes)


@pytest.mark.parametrize("name", ["", "a" * 151, "a#1", "a[0]", "a\nb", "a\0", "\ud800", 7])
def test_names_that_no_row_can_have_are_refused(name: Any) -> None:
    with pytest.raises(NotExecutable):
        Node(name, nothing)


def test_names_of_functions_are_found_again() -> None:
    for one in (nothing, Holder.method, Holder, HELD, asyncio.sleep, json):
        name = name_of(one)
        if one is not json:
            assert name is not None
            assert find(name) is one


@pytest.mark.parametrize(
    "function",
    [lambda state: state, functools.partial(nothing), HELD.bound, Holder().bound],
    ids=["lambda", "partial", "bound", "bound to another"],
)
def test_functions_that_no_worker_could_find_are_refused(function: Any) -> None:
    plan = NodeWorkflow("w", [Node("x", function)]).plan

    with pytest.raises(NotExecutable, match="Node x has no executable function that a worker"):
        plan.to_json()


@pytest.mark.parametrize("name", ["nothing", "no.such:thing", "json:no", ":x", "json:", ""])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(NotExecutable, match="cannot be imported here"):
        find(name)


def test_functions_of_the_standard_library_are_refused() -> None:
    for function in (print, subprocess.run, os.system):
        with pytest.raises(NotExecutable, match="is of Python's own library"):
            NodeWorkflow("w", [Node("x", function)]).plan.to_json()
