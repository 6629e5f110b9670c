"""Contents that steps store beside their results: seen as streams, kept while they are named."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.results.memory import MemoryObjects
from flowq.blocks import edge_type
from flowq.blocks.storage import external, steps
from flowq.core.errors import FlowqError
from flowq.core.events import Event, StreamEnded, StreamStarted
from flowq.core.ids import StepRunId, node_id
from flowq.engine.engine import Policies
from flowq.engine.events.follow import follow
from flowq.engine.results.store import ResultStore
from flowq.engine.sweeper.retention import collect
from tests.tools.documents import document, modify, play, result
from tests.tools.playing import Played, Stage

T = 1024 * 1024


@step
def make(size: int) -> dict[str, Any]:
    return steps.store("a b", "x" * size)


@step
def use(cell: dict[str, Any]) -> int:
    return len(steps.load(cell))


@step(retries=1, retry_delay=0)
def fail_once() -> dict[str, Any]:
    stored = steps.store("7", "x", "external")
    if step.context().attempt == 1:
        raise ValueError("the first attempt fails")
    return stored


@flow
def through(size: int) -> int:
    return use(make(size))


@flow
def flaky() -> dict[str, Any]:
    return fail_once()


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def stage(records: SqlRecords, objects: MemoryObjects) -> Stage:
    made = Stage.on(records)
    results = ResultStore(None, lambda: objects, T)
    policies = Policies(orphans_after=timedelta(0))
    return replace(made, engine=replace(made.engine, results=results, policies=policies))


def recorded(played: Played, kind: type[Event]) -> list[Any]:
    return [one for one in follow(played.stage.engine, played.id) if isinstance(one, kind)]


@pytest.mark.parametrize("over", [0, 1])
def test_a_content_above_the_threshold_goes_by_the_store(
    stage: Stage, objects: MemoryObjects, over: int
) -> None:
    played = stage.play(through, size=T + over)

    assert T + over == played.result()
    folder = f"blocks/=/a=20b/{node_id(played.id, 'make')}."
    names = [key.rpartition("/")[2] for key in objects.keys() if key.startswith(folder)]  # noqa: SIM118
    assert (["chunk_000000.txt", "chunk_000001.txt", "manifest.json"] if over else []) == names
    begun = [steps.stream_of_block(one.content_type) for one in recorded(played, StreamStarted)]
    assert ["a b"] * over == [block["block_id"] for block in begun if block]


def test_the_collector_keeps_what_a_row_names_and_no_more(
    stage: Stage, objects: MemoryObjects
) -> None:
    played = stage.play(flaky)
    versions = {key.split("/")[3] for key in objects.keys()}  # noqa: SIM118
    kept = played.result()["external"]["resource_key"]
    assert 2 == len(versions)
    objects.put("blocks/ann/7/4d0c/manifest.json", b"{}")  # of a client, and of no step

    assert 2 == collect(stage.engine)
    of_client = "blocks/ann/7/4d0c/manifest.json"
    assert {f"blocks/{kept}/chunk_000000.txt", f"blocks/{kept}/manifest.json", of_client} == set(
        objects.keys()
    )
    assert 0 == collect(stage.engine)

    stage.records.transaction(lambda tx: tx.sweeps.delete_tree(played.id))
    assert 2 == collect(stage.engine)
    assert [of_client] == list(objects.keys())


def test_what_a_running_step_stores_is_kept(stage: Stage, objects: MemoryObjects) -> None:
    seen: list[int] = []

    @step
    def collecting() -> dict[str, Any]:
        stored = steps.store("7", "x", "external")
        seen.append(collect(stage.engine))
        return stored

    @flow
    def alone() -> dict[str, Any]:
        return collecting()

    played = stage.play(alone)
    assert "external" in played.result()
    assert [0] == seen
    assert 2 == len(objects.keys())


def test_a_store_that_fails_is_reported_in_the_stream(
    stage: Stage, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(key: str, data: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(objects, "put", full)
    played = stage.play(through, size=T + 1)
    assert "the disk is full" in played.error
    assert ["OSError"] == [one.error_type for one in recorded(played, StreamEnded)]


def test_outside_of_a_step_nothing_is_stored() -> None:
    with pytest.raises(FlowqError, match="outside a step"):
        steps.store("7", "x")


def test_a_content_that_is_passed_on_is_stored_once(stage: Stage, objects: MemoryObjects) -> None:
    longs = ["é" * T, ["x" * T, None, {"a": 1}]]
    for long in longs:
        edges = {
            "0": modify("copy", {"0": "x"}, {"1": ""}),
            "1": modify("copy", {"1": "x"}, {"2": "", "3": ""}),
            "2": choice("3", "4"),
        }
        made = result(stage, play(stage, document(edges, dict.fromkeys("1234", "") | {"0": long})))

        (key,) = {made[block]["external_metadata"]["resource_key"] for block in "1234"}
        read_back = external.read(objects, made["4"]["external_metadata"])
        assert (long, f"=/1/{key.rpartition('/')[2]}") == (read_back, key)
    assert len(longs) == sum(key.endswith("/manifest.json") for key in objects.keys())  # noqa: SIM118


def test_a_content_of_another_run_is_stored_again(stage: Stage, objects: MemoryObjects) -> None:
    edges = {"0": modify("copy", {"0": "x"}, {"1": ""})}
    first = play(stage, document(edges, {"0": "x" * (T + 1), "1": ""}))
    stored = {"data": {"external_metadata": result(stage, first)["1"]["external_metadata"]}}
    more = {**edges, "1": modify("copy", {"1": "x"}, {"2": ""})}
    again = play(stage, document(more, {"0": stored, "1": "", "2": ""}))

    stage.records.transaction(lambda tx: tx.sweeps.delete_tree(first.id))
    collect(stage.engine)
    made = result(stage, again)
    assert made["1"] == made["2"] != stored["data"]
    assert "x" * (T + 1) == external.read(objects, made["2"]["external_metadata"])


@edge_type("tests.appending")
def appending(_: dict[str, Any], contents: dict[str, Any]) -> Any:
    contents["x"].append("more")
    return contents["x"]


def test_a_content_that_a_function_has_changed_is_stored(
    stage: Stage, objects: MemoryObjects
) -> None:
    edges = {
        "0": modify("copy", {"0": "x"}, {"1": ""}),
        "1": {"type": "tests.appending", "data": {"inputs": {"1": "x"}, "outputs": {"2": ""}}},
    }
    made = result(stage, play(stage, document(edges, {"0": ["x" * T], "1": "", "2": ""})))
    found = external.read(objects, made["2"]["external_metadata"])
    assert ["x" * T, "more"] == found


def choice(source: str, target: str) -> dict[str, Any]:
    """Return an edge that gives one block to another, if it is not empty."""
    condition = {"block": source, "condition": "is_not_empty", "operation": "/", "parameters": {}}
    case = {"conditions": [condition], "thens": [{"from": source, "to": target}]}
    ends = {"inputs": {source: ""}, "outputs": {target: ""}}
    return {"type": "ifelse", "data": {"cases": {"case": case}, **ends}}


def test_ids_of_steps_are_read_from_keys(stage: Stage, objects: MemoryObjects) -> None:
    from flowq.core.results import belongs_to, maker_of_object, step_of_object

    played = stage.play(flaky)
    for key in objects.keys():  # noqa: SIM118
        assert StepRunId(node_id(played.id, "fail_once")) == step_of_object(key)
        assert str(maker_of_object(key)) in key
        assert not belongs_to(key, None)
    assert step_of_object("blocks/ann/7/4d0c/manifest.json") is None
    assert step_of_object("blocks/x") is None
