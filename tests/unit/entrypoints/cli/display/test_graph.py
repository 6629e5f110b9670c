"""A flow drawn as text: the tree, the levels, and Mermaid."""

import pytest

from flowq import flow, step
from flowq.core.graph import Graph
from flowq.core.spec import FlowSpec, StepSpec
from flowq.entrypoints.cli.display import tree
from flowq.entrypoints.cli.display.graph import as_mermaid


@step
def one(n: int) -> int:
    return n


@step(retries=2, timeout=5)
def double(n: int) -> int:
    return 2 * n


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def add(values: list[int], extra: int = 0) -> int:
    return sum(values) + extra


@flow
def child(n: int) -> int:
    return one(n)


@flow
def whole(n: int) -> int:
    found = numbers(n)
    doubled = double.map(found, tolerate="10%")
    rare = one.options(when=found[0] > 3, key="rare <&>")(n)
    inner = child.options(after=rare)(n)
    return add(doubled, inner)


def chain(length: int) -> FlowSpec:
    steps = [StepSpec(key="s0", name="s")]
    steps += [StepSpec(key=f"s{i}", name="s", after=(f"s{i - 1}",)) for i in range(1, length)]
    return FlowSpec(name="chain", steps=tuple(steps))


def drawn(spec: FlowSpec) -> list[str]:
    return [f"{line.prefix}{line.key}" for line in tree.lines(Graph.of(spec))]


def test_branches_are_indented_and_a_chain_is_not() -> None:
    assert [
        "numbers",
        "├─ double",
        "╰─ rare <&>",
        "   child",
        "   add",
    ] == drawn(whole.spec(n=3))


def test_join_names_the_other_steps_that_it_waits_for() -> None:
    also = {line.key: line.also for line in tree.lines(Graph.of(whole.spec(n=3)))}

    assert ("double",) == also["add"]
    assert {()} == {names for key, names in also.items() if key != "add"}


def test_every_step_is_drawn_once_however_long_the_chain() -> None:
    """Two thousand steps are one column, and no recursion."""
    lines = drawn(chain(2_000))

    assert [f"s{i}" for i in range(2_000)] == lines


def test_tree_does_not_grow_out_of_the_terminal() -> None:
    """A comb: each step has two after it, one of which goes on."""
    steps = [StepSpec(key="s0", name="s")]
    for i in range(1, 60):
        steps.append(StepSpec(key=f"s{i}", name="s", after=(f"s{i - 1}",)))
        steps.append(StepSpec(key=f"leaf{i}", name="s", after=(f"s{i - 1}",)))
    spec = FlowSpec(name="comb", steps=tuple(steps))

    lines = drawn(spec)

    assert len(steps) == len(lines)
    assert max(map(len, lines)) < 60


def test_steps_of_a_level_are_split_into_batches() -> None:
    assert [("numbers",), ("double",), ("rare <&>",), ("child",), ("add",)] == tree.batches(
        Graph.of(whole.spec(n=3))
    )


@pytest.mark.parametrize(
    "key, facts",
    [
        ("numbers", []),
        ("double", ["map over numbers", "tolerates 10%", "3 attempts", "timeout 5 s"]),
        ("rare <&>", ["when numbers[0] > 3"]),
    ],
)
def test_what_is_special_is_said_in_words(key: str, facts: list[str]) -> None:
    assert facts == tree.facts(whole.spec(n=3).step(key))


def test_mermaid_marks_maps_child_runs_conditions_and_mere_order() -> None:
    spec = whole.spec(n=3)

    lines = [line.strip() for line in as_mermaid(spec, Graph.of(spec))]

    name = child.type.name
    assert "flowchart TD" == lines[0]
    assert (
        {
            's1["numbers"]',
            's2[["double × n"]]',  # noqa: RUF001
            's3["rare &lt;&amp;&gt;"]',
            f's4(["child<br/>{name}"])',
            's5["add"]',
        }
        == set(lines[1:6])
    )
    assert {
        "s1 --> s2",
        's1 -->|"when numbers[0] &gt; 3"| s3',
        "s3 -.-> s4",
        "s2 --> s5",
        "s4 --> s5",
    } == set(lines[6:])
