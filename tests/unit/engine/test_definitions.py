"""The definitions that a process keeps are bounded by their memory, and by their number."""

import tracemalloc
from typing import Any, cast
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from flowq.core.ids import RunId
from flowq.core.spec import FlowSpec, MapSpec, StepSpec
from flowq.engine.definitions import DefinitionCache, footprint
from flowq.engine.model.rows import Definition

JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def mapped(items: list[Any]) -> FlowSpec:
    step = StepSpec(key="s", name="step", map=MapSpec(parameter="x", items=items))
    return FlowSpec(name="flow", steps=(step,))


def kept(spec: FlowSpec, most_bytes: int, runs: int) -> int:
    """Return how many of as many runs are cached after each was added."""
    cache = DefinitionCache(cast("Any", None), most_bytes)
    for _ in range(runs):
        newest = cache.add(Definition(RunId(uuid4()), "flow", None, None, spec))
    assert cache.get(newest.definition.run_id) is newest
    return len(cache._known)


def test_small_definitions_are_bounded_by_their_number() -> None:
    assert kept(mapped([1]), 64 * 1024 * 1024, 1000) == 512


def test_large_definitions_are_bounded_by_their_memory() -> None:
    spec = mapped(["x" * 10_000] * 100)
    assert kept(spec, 10 * footprint(spec), 50) == 10


def test_long_lists_take_no_memory() -> None:
    document = mapped(list(range(50_000))).model_dump_json()
    cache = DefinitionCache(cast("Any", None))
    tracemalloc.start()
    spec = FlowSpec.model_validate_json(document)
    known = cache.add(Definition(RunId(uuid4()), "flow", None, None, spec))
    del spec
    taken, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken < 50_000
    assert peak > 1_000_000
    step = known.step("s")
    assert step.map is not None
    assert (step.map.parameter, step.map.items) == ("x", [])


def test_the_newest_definition_is_kept_whatever_its_size() -> None:
    assert kept(mapped(["x" * 10_000] * 100), 1000, 3) == 1


@given(st.lists(st.tuples(st.sampled_from(("add", "forget", "look")), st.integers(0, 2))))
def test_cache_has_what_was_added_and_not_forgotten(done: list[tuple[str, int]]) -> None:
    runs = [Definition(RunId(uuid4()), "flow", None, None, mapped([1])) for _ in range(3)]
    cache, there = DefinitionCache(cast("Any", None)), set[int]()
    for what, which in done:
        if what == "add":
            cache.add(runs[which])
            there.add(which)
        elif what == "forget":
            cache.forget(runs[which].run_id)
            there.discard(which)
        known = cache.cached(runs[which].run_id)
        assert (known is not None and known.definition is runs[which]) is (which in there)


@given(st.lists(JSON))
def test_footprint_grows_with_each_value(items: list[Any]) -> None:
    assert footprint(mapped([*items, "text"])) > footprint(mapped(items))


def test_footprint_is_near_the_memory_that_a_list_takes() -> None:
    text = mapped([{"id": number, "name": f"item {number}"} for number in range(20_000)])
    document = text.model_dump_json()
    tracemalloc.start()
    spec = FlowSpec.model_validate_json(document)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / 3 < footprint(spec) < 3 * taken
