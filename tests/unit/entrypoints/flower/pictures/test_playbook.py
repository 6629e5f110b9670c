"""The graph of a run of a playbook: its steps, and what leads from one to another."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowq.core.states import RunState, StepState
from flowq.engine.queries.graph import PictureNode
from flowq.entrypoints.flower.pictures.playbook import playbook_graph
from flowq.playbooks.document.models import Playbook
from tests.unit.entrypoints.flower.pictures.picturing import at, node, run
from tests.unit.entrypoints.flower.pictures.test_pictures import of_class, texts

NOOP = {"kind": "noop"}


def book(**following: list[str]) -> Playbook:
    """A playbook from the names that follow each step."""
    steps = [
        {"step": name, "tool": NOOP, "next": [{"step": one} for one in names]}
        for name, names in following.items()
    ]
    return Playbook.of({"metadata": {"name": "one"}, "workflow": steps})


def orders() -> Playbook:
    fetch: dict[str, Any] = {
        "step": "start",
        "tool": {"kind": "http"},
        "case": [
            {"when": "error.status == 503", "then": [{"retry": {"max_attempts": 3}}]},
            {"when": "response.more", "then": [{"call": {"params": {"page": 2}}}]},
            {"when": "response.total > 9", "then": [{"next": [{"step": "alert"}]}]},
        ],
        "next": [{"step": "count"}],
    }
    loop = {"in": "{{ start }}", "iterator": "one"}
    store = {"sink": {"tool": NOOP}, "tool": NOOP, "loop": loop, "step": "count"}
    alert = {"step": "alert", "tool": NOOP, "next": [{"step": "count"}]}
    return Playbook.of({"metadata": {"name": "orders"}, "workflow": [fetch, alert, store]})


def drawn(playbook: Playbook, *nodes: PictureNode, status: RunState = RunState.COMPLETED) -> str:
    picture = run(nodes, status=status, program=node("program", 0, 9))
    return playbook_graph(playbook, picture, now=at(10), link=lambda one: f"#{one.key}")


def test_calls_of_a_step_are_one_node_and_their_transitions_labelled_edges() -> None:
    counts = {StepState.COMPLETED: 3, StepState.FAILED: 1}
    svg = drawn(
        orders(),
        node("start", 1, 4, size=4, counts=counts),
        node("count", 4, 5, size=40, is_map=True, counts={StepState.COMPLETED: 40}),
        node("count_sink", 5, 6),
    )

    said = texts(svg)
    assert [one for one in said if one in {"start", "alert", "count", "count_sink"}] == [
        *("start", "alert", "count", "count_sink"),
    ]
    assert {"4 of 4 · 1 failed", "40 of 40", "not reached"} <= set(said)
    assert {"retry | page", "when response.total > 9", "sink"} <= set(said)
    assert len(of_class(svg, "fq-edge", "fq-next")) == 4
    assert len(of_class(svg, "fq-edge", "fq-condition")) == 2
    assert len(of_class(svg, "fq-edge", "fq-off")) == 2  # to what was not reached, and from it
    assert re.findall(r'href="(.*?)"', svg) == ["#start", "#count", "#count_sink"]


def test_a_step_may_still_be_reached_while_the_run_is_open() -> None:
    svg = drawn(orders(), node("start", 1), status=RunState.RUNNING)

    assert texts(svg).count("not reached yet") == 3
    assert of_class(svg, "fq-edge", "fq-off") == []


def test_an_edge_that_closes_a_cycle_goes_up_beside_the_one_that_goes_down() -> None:
    svg = drawn(book(start=["work"], work=["check"], check=["work", "end"], end=["end"]))

    down = [str(one.get("d")) for one in of_class(svg, "fq-edge", "fq-next")]
    up = [str(one.get("d")) for one in of_class(svg, "fq-edge", "fq-back")]
    assert (len(down), len(up)) == (3, 2)

    def heights(path: str) -> tuple[float, float]:
        found = [float(one) for one in re.findall(r"-?[\d.]+", path)]
        return found[1], found[-1]

    assert all(begin < end for begin, end in map(heights, down))
    begin, end = heights(up[0])
    assert begin > end
    assert up[0].partition(" ")[0] not in {one.partition(" ")[0] for one in down}


NAMES = ["start", *"abcdef"]


@given(st.fixed_dictionaries({name: st.lists(st.sampled_from(NAMES)) for name in NAMES}))
def test_any_graph_is_drawn_with_all_its_edges(following: dict[str, list[str]]) -> None:
    svg = drawn(book(**following))

    wanted = {(name, one) for name, names in following.items() for one in names}
    assert len(of_class(svg, "fq-edge")) == len(wanted)
