"""The planner of documents, against tables worked out by hand and the levels of random graphs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.blocks.document import read
from flowq.blocks.planner import ExecutionPlanner
from flowq.blocks.storage.blocks import BlockFactory
from tests.tools.documents import HELLO, modify, text


def hello() -> ExecutionPlanner:
    return ExecutionPlanner(HELLO["blocks"], HELLO["edges"])  # type: ignore[arg-type]


def test_a_block_that_an_edge_makes_is_not_processed_at_the_start() -> None:
    assert hello().block_states == {
        "1": "processed",
        "2": "processed",
        "3": "pending",
        "4": "pending",
        "5": "pending",
    }


@pytest.mark.parametrize(
    "block, state",
    [
        (text(""), "processed"),
        (text(None), "pending"),
        (text("a", storage_class="external"), "pending"),
        ({"data": {"external_metadata": {"resource_key": "a/b/c"}}}, "pending"),
        ({"label": "without data"}, "pending"),
    ],
)
def test_which_blocks_are_there_at_the_start(block: Any, state: str) -> None:
    assert ExecutionPlanner({"1": block}, {}).block_states == {"1": state}


def test_all_ready_edges_are_one_batch() -> None:
    planner = hello()
    batch = planner.get_next_executable_batch()
    assert batch == {"greet", "split"}
    assert planner.get_inputs_for_batch(batch) == {"1", "2"}
    assert planner.get_outputs_for_batch(batch) == {"3", "4"}
    planner.mark_edges_processing(batch)
    assert planner.get_next_executable_batch() == set()
    assert planner.get_progress() == {
        "edges": {"total": 3, "completed": 0, "processing": 2, "pending": 1},
        "blocks": {"total": 5, "processed": 2, "pending": 3},
        "completion_percentage": 0,
    }
    planner.mark_edges_completed(batch)
    planner.mark_blocks_processed({"3", "4", "no block"})
    assert planner.get_next_executable_batch() == {"pick"}
    planner.mark_edges_completed({"pick"})
    planner.mark_blocks_processed({"5"})
    assert planner.is_complete()
    assert planner.get_progress()["completion_percentage"] == 100


def test_progress_without_edges_is_zero() -> None:
    assert ExecutionPlanner({"1": text("a")}, {}).get_progress()["completion_percentage"] == 0


def test_blocks_in_the_store_are_fetched_beforehand() -> None:
    blocks = {"1": text("a"), "2": {"data": {"external_metadata": {"resource_key": "a/b/c"}}}}
    assert ExecutionPlanner(blocks, {}).get_all_prefetch_candidates() == {"2"}


def test_an_invalid_graph_is_reported_with_all_problems() -> None:
    edges = {
        "one": modify("copy", {"9": ""}, {"2": ""}),
        "two": modify("copy", {"1": ""}, {"1": "", "8": ""}),
        "three": modify("copy", {"2": ""}, {"3": ""}),
        "four": modify("copy", {"3": ""}, {"2": ""}),
    }
    valid, errors = ExecutionPlanner(
        {"1": text("a"), "2": text(""), "3": text("")}, edges
    ).validate_dag()
    assert not valid
    assert errors[:3] == [
        "edge 'one': input names block '9'",
        "edge 'two': output names block '8'",
        "edge 'two': block '1' is input and output",
    ]
    assert errors[3].startswith("cycle: ")


def test_the_blocks_of_a_factory_plan_as_json_does() -> None:
    blocks = BlockFactory.create_blocks_from_workflow(HELLO)
    planner = ExecutionPlanner(blocks, HELLO["edges"])  # type: ignore[arg-type]
    assert planner.block_states == hello().block_states
    assert planner.get_next_executable_batch() == {"greet", "split"}


def test_the_models_of_a_document_plan_as_its_json_does() -> None:
    document, _ = read(HELLO)
    assert document.planner.levels() == hello().levels() == [["greet", "split"], ["pick"]]
    assert document.planner.validate_dag() == (True, [])


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Edges each of which makes one block from some of those before it."""
    count = draw(st.integers(1, 12))
    edges = {}
    for number in range(1, count + 1):
        inputs = draw(st.sets(st.integers(0, number - 1), max_size=3))
        edges[f"e{number}"] = modify("copy", {f"b{one}": "" for one in inputs}, {f"b{number}": ""})
    return edges


@given(graphs())
def test_batches_are_levels(edges: dict[str, Any]) -> None:
    blocks = {f"b{number}": text("") for number in range(len(edges) + 1)}
    planner, batches = ExecutionPlanner(blocks, edges), []
    while batch := planner.get_next_executable_batch():
        planner.mark_edges_completed(batch)
        planner.mark_blocks_processed(planner.get_outputs_for_batch(batch))
        batches.append(batch)
    assert planner.is_complete()
    assert batches == [set(level) for level in ExecutionPlanner(blocks, edges).levels()]
