"""The graph of a spec: who waits for whom, and what is no graph."""

from typing import Any

import pytest

from flowq.core.errors import InvalidFlow
from flowq.core.graph import Graph
from flowq.core.results import NO_RESULT
from flowq.core.spec import FlowSpec, MapSpec, StepSpec


def step(key: str, **given: Any) -> StepSpec:
    return StepSpec(key=key, name="step", **given)


def flow(*steps: StepSpec, output: Any = None) -> FlowSpec:
    return FlowSpec(name="shop", steps=steps, output=output)


def test_every_way_to_name_a_step_is_a_dependency() -> None:
    """Arguments, lists, conditions and order count, each step once."""
    spec = flow(
        step("a"),
        step("b"),
        step("c"),
        step("d"),
        step(
            "e",
            arguments={"x": [{"$ref": "a"}, {"$ref": "a", "path": [0]}]},
            map=MapSpec(parameter="y", items={"$ref": "b"}),
            when={"$op": ">", "args": [{"$ref": "c"}, 1]},
            after=("d", "a"),
        ),
    )

    graph = Graph.of(spec)

    assert ("a", "b", "c", "d") == graph.dependencies["e"]
    assert ("e",) == graph.dependents["a"]
    assert {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5} == graph.order


def test_literal_is_no_dependency() -> None:
    """Data that looks like a reference waits for nobody."""
    spec = flow(step("a", arguments={"x": {"$literal": {"$ref": "nobody"}}}))

    assert () == Graph.of(spec).dependencies["a"]


def test_nobody_waits_for_a_given_value() -> None:
    """It is referred to like a step, and is none."""
    spec = flow(step("a", arguments={"x": {"$ref": "v"}}), output={"$ref": "v"})
    graph = Graph.of(spec.model_copy(update={"given": {"v": NO_RESULT}}))

    assert {"a": ()} == graph.dependencies
    assert {"a": 1} == graph.order


def test_given_value_cannot_have_the_key_of_a_step() -> None:
    """References could not tell them apart."""
    spec = flow(step("a")).model_copy(update={"given": {"a": NO_RESULT}})

    with pytest.raises(InvalidFlow, match="two steps with the key 'a'"):
        Graph.of(spec)


def test_empty_flow_has_an_empty_graph() -> None:
    """A flow may have nothing to do."""
    assert {} == Graph.of(flow()).dependencies


@pytest.mark.parametrize(
    "spec, problem",
    [
        (flow(step("a"), step("b"), step("a")), "two steps with the key 'a'"),
        (flow(step("a", after=("b",))), "step 'a' of flow 'shop' refers to 'b'"),
        (flow(step("a"), output=[{"$ref": "c"}]), "the output of flow 'shop' refers to 'c'"),
        (flow(step("a", after=("a",))), "cycle: a → a"),
        (
            flow(step("a", after=("c",)), step("b", after=("a",)), step("c", after=("b",))),
            "has a cycle: ",
        ),
    ],
)
def test_what_is_no_graph_is_refused(spec: FlowSpec, problem: str) -> None:
    """The message names the flow and the steps."""
    with pytest.raises(InvalidFlow, match=problem):
        Graph.of(spec)


def test_batches_keep_the_order_of_keys() -> None:
    """Steps that the same steps wait for stand together, as they came."""
    spec = flow(
        step("a"), step("b"), step("c"), step("d", after=("c", "a")), step("e", after=("b",))
    )

    assert [("c", "a"), ("b",), ("d", "e")] == Graph.of(spec).batches(["c", "b", "a", "d", "e"])
