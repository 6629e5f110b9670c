"""Random programs: flows that a source of chance makes.

A program is JSON data, so it is the input of a run: nodes that add numbers, map over lists, run
child programs, skip on a condition, and fail so many times by plan. What becomes of each of them
`tests.tools.random_flows.expected` says in plain Python.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowq import flow, step
from flowq.authoring.definitions.flows import Flow
from flowq.core.retries import RetryPolicy
from flowq.engine.runtime.context import StepContext

Program = dict[str, Any]
Node = dict[str, Any]

#: Called by each step as its code begins; says which of the step's own attempts this is, from 1.
_begin: Callable[[StepContext], int] = lambda here: here.attempt  # noqa: E731


@contextmanager
def witnessed(begin: Callable[[StepContext], int]) -> Iterator[None]:
    """Call `begin` when the code of a step begins; attempts that it lost count for its plan not."""
    global _begin  # noqa: PLW0603 - steps are functions: there is no other way to reach them
    before, _begin = _begin, begin
    try:
        yield
    finally:
        _begin = before


def attempt(fails: int) -> None:
    """Let an attempt of a step begin, and fail if its plan says so."""
    here = step.context()
    if _begin(here) <= fails:
        raise ValueError(f"{here.key} fails")


@step
def combine(number: int, inputs: list[Any], fails: int) -> int:
    attempt(fails)
    return number + sum(flatten(inputs))


@step
def each(item: Any, number: int, fails: list[int]) -> int:
    index = step.context().index
    assert index is not None
    attempt(planned(fails, index))
    return number + sum(flatten(item))


@step
def spread(number: int, inputs: list[Any]) -> list[int]:
    attempt(0)
    return list(range((number + sum(flatten(inputs))) % 5))


def flatten(value: Any) -> list[int]:
    if isinstance(value, list):
        return [number for item in value for number in flatten(item)]
    return [value] if isinstance(value, int) else []


def planned(fails: Sequence[int], index: int) -> int:
    """Return how often an item fails; the plan is as long as chance made it, lists are not."""
    return fails[index % len(fails)]


# --- the flows -----------------------------------------------------------------------------------


def _build(nodes: list[Node], outputs: Any, given: Any) -> Any:
    made: list[Any] = []
    base = sum(flatten(given))
    for number, node in enumerate(nodes):
        inputs = [made[i] for i in node["on"]]
        options: dict[str, Any] = {
            "accept_skipped": node["accepts"],
            "allow_failure": node["allowed"],
        }
        if node["when"] is not None:
            options["when"] = made[node["when"]] != node["unlike"]
        if node["op"] in {"child", "fan"}:
            child = node["child"]
            called = flow_of(child).options(key=f"n{number}", **options)
            made.append(
                called(child["nodes"], child["outputs"], inputs)
                if node["op"] == "child"
                else called.map(
                    list(range(node["size"])),
                    nodes=child["nodes"],
                    outputs=child["outputs"],
                    tolerate=node["tolerate"],
                )
            )
            continue
        retry = RetryPolicy(max_attempts=node["tries"])
        if node["op"] == "sum":
            summing = combine.options(key=f"n{number}", retry=retry, **options)
            made.append(summing(base + number, inputs, node["fails"][0]))
            continue
        mapping = each.options(key=f"n{number}", retry=retry, tolerate=node["tolerate"])
        if node["op"] == "map":
            items: Any = spread.options(key=f"list{number}", **options)(base + number, inputs)
        else:
            items = made[node["over"]] if node["op"] == "remap" else list(range(node["size"]))
            mapping = mapping.options(**options)
        made.append(mapping.map(items, number=base + number, fails=node["fails"]))
    return [made[i] for i in outputs] if isinstance(outputs, list) else made[outputs]


@flow(on_failure="continue")
def patient(nodes: list[dict[str, Any]], outputs: int | list[int], given: Any) -> Any:
    return _build(nodes, outputs, given)


@flow(on_failure="fail_fast")
def strict(nodes: list[dict[str, Any]], outputs: int | list[int], given: Any) -> Any:
    return _build(nodes, outputs, given)


def flow_of(program: Program) -> Flow[..., Any]:
    """Return the flow that runs a program."""
    chosen: Flow[..., Any] = strict if program["strict"] else patient
    return chosen


def inputs_of(program: Program) -> dict[str, Any]:
    """Return the inputs that make a flow run a program."""
    return {"nodes": program["nodes"], "outputs": program["outputs"], "given": []}


# --- chance --------------------------------------------------------------------------------------

_MAPS = {"map", "list", "remap", "fan"}
_SIZES = {"list": [0, 1, 2, 3, 9], "fan": [1, 2, 3]}


def random_program(
    chance: random.Random, *, size: int = 8, retries: bool = True, depth: int = 1
) -> Program:
    """Make a program.

    Args:
        chance: The source of chance.
        size: Nodes at most.
        retries: Whether steps have retries; they take time.
        depth: How deep child programs may lie.
    """
    nodes: list[Node] = []
    for number in range(chance.randint(1, size)):
        nodes.append(_random_node(chance, nodes, retries=retries, depth=depth, number=number))
    usable = [i for i, node in enumerate(nodes) if not node["allowed"]] or None
    outputs: int | list[int] = []
    if usable:
        outputs = chance.choice(usable) if chance.random() < 0.5 else usable[-3:]
    return {"nodes": nodes, "outputs": outputs, "strict": chance.random() < 0.3}


def _random_node(
    chance: random.Random, before: Sequence[Node], *, retries: bool, depth: int, number: int
) -> Node:
    op = chance.choice([*["sum"] * 7, "map", "map", "list", "list", "remap", "child", "fan"])
    maps = [i for i, node in enumerate(before) if node["op"] in _MAPS]
    if (op == "remap" and not maps) or (op in {"child", "fan"} and not depth):
        op = "sum"
    tries = chance.choice([1, 1, 2, 3]) if retries else 1
    node: Node = {
        "op": op,
        "on": _random_dependencies(chance, before),
        "when": chance.randrange(number) if number and chance.random() < 0.25 else None,
        "unlike": chance.randint(0, 3),
        "accepts": chance.random() < 0.4,
        "allowed": False,
        "tries": tries,
        "fails": [_random_failures(chance, tries) for _ in range(1 if op == "sum" else 4)],
        "tolerate": chance.choice([None, None, 1, 2]),
        "size": chance.choice(_SIZES[op]) if op in _SIZES else 0,
        "over": chance.choice(maps) if op == "remap" else 0,
    }
    if op in {"sum", "child"}:
        node["allowed"] = chance.random() < 0.3
    if op in {"child", "fan"}:
        node["child"] = random_program(chance, size=4, retries=retries, depth=depth - 1)
    if op in {"list", "remap", "fan"}:
        node["on"] = []  # what they wait for is their list
    return node


def _random_dependencies(chance: random.Random, before: Sequence[Node]) -> list[int]:
    """Choose what a node depends on; siblings and joins are common, since they make batches."""
    kind, number = chance.random(), len(before)
    if number and kind < 0.4:
        return list(before[-1]["on"])
    if kind < 0.65:
        used = {i for node in before for i in [*node["on"], node["when"]]}
        return [i for i in range(number) if i not in used][-5:]
    return sorted(chance.sample(range(number), chance.randint(0, min(3, number))))


def _random_failures(chance: random.Random, tries: int) -> int:
    return chance.randint(1, tries) if chance.random() < 0.2 else 0
