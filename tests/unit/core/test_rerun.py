"""What a rerun reuses: small cases, and what holds for every graph."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowq.core.graph import Graph
from flowq.core.rerun import OldNode, Why, after, compare, item_of
from flowq.core.results import ResultRef, StorageKind
from flowq.core.spec import CacheSpec, FlowSpec, MapSpec, StepSpec
from flowq.core.states import StepState

COMPLETED, FAILED, SKIPPED = StepState.COMPLETED, StepState.FAILED, StepState.SKIPPED


def ref(key: str) -> dict[str, str]:
    return {"$ref": key}


def spec(*steps: StepSpec, **given: ResultRef) -> FlowSpec:
    return FlowSpec(name="f", steps=steps, given=given)


def node(key: str, *needs: str, **options: Any) -> StepSpec:
    return StepSpec(
        key=key, name=options.pop("name", "s"), arguments={"x": [ref(n) for n in needs]}, **options
    )


def decide(
    old: FlowSpec, new: FlowSpec, states: Mapping[str, StepState], fork: str | None = None
) -> dict[str, Why | None]:
    nodes = {key: OldNode(state) for key, state in states.items()}
    return compare(old, new, Graph.of(new), nodes, fork)


CHAIN = spec(node("a"), node("b", "a"), node("c", "b"), node("d"))
DONE = dict.fromkeys("abcd", COMPLETED)


def test_all_is_reused_of_a_completed_run() -> None:
    assert decide(CHAIN, CHAIN, DONE) == dict.fromkeys("abcd")


def test_failed_step_and_what_depends_on_it_run() -> None:
    found = decide(CHAIN, CHAIN, DONE | {"b": FAILED, "c": StepState.CANCELLED})
    assert found == {"a": None, "b": Why.OPEN, "c": Why.DEPENDS, "d": None}


def test_from_a_step_on() -> None:
    assert decide(CHAIN, CHAIN, DONE, "b") == {
        "a": None,
        "b": Why.FORK,
        "c": Why.DEPENDS,
        "d": None,
    }


def test_new_and_changed_steps_run() -> None:
    new = spec(node("a"), node("b", "a", name="other"), node("c", "b"), node("d"), node("e"))
    assert decide(CHAIN, new, DONE) == {
        "a": None,
        "b": Why.CHANGED,
        "c": Why.DEPENDS,
        "d": None,
        "e": Why.NEW,
    }


def test_how_a_step_is_run_does_not_change_its_result() -> None:
    new = spec(node("a", queue="slow"), node("b", "a", allow_failure=True), *CHAIN.steps[2:])
    assert set(decide(CHAIN, new, DONE).values()) == {None}


def test_version_of_the_cache_changes_a_step() -> None:
    def version(text: str) -> FlowSpec:
        return spec(node("a", cache=CacheSpec(ttl=timedelta(1), version=text)))

    assert decide(version("1"), version("1"), DONE) == {"a": None}
    assert decide(version("1"), version("2"), DONE) == {"a": Why.CHANGED}


def test_skipped_step_stays_skipped_unless_something_before_it_runs() -> None:
    states = DONE | {"b": SKIPPED, "c": SKIPPED}
    assert set(decide(CHAIN, CHAIN, states).values()) == {None}
    assert decide(CHAIN, CHAIN, states | {"a": FAILED})["b"] is Why.DEPENDS


def test_skipped_step_is_decided_again_if_what_may_skip_it_has_changed() -> None:
    def with_last(**options: Any) -> FlowSpec:
        return spec(node("a"), node("b"), node("c"), node("d", "a", "b", **options))

    states = DONE | {"b": SKIPPED, "d": SKIPPED}
    old = with_last(after=("c",))
    for same in (old, with_last(after=("c", "a"))):
        assert set(decide(old, same, states).values()) == {None}
    for other in (with_last(), with_last(after=("c",), accept_skipped=True)):
        assert decide(old, other, states)["d"] is Why.CHANGED


def test_map_with_a_failed_item_and_a_lost_result_run() -> None:
    one = spec(node("m", map=MapSpec(parameter="x", items=[1, 2])))
    graph = Graph.of(one)
    assert compare(one, one, graph, {"m": OldNode(COMPLETED, is_whole=False)}) == {"m": Why.OPEN}
    gone = OldNode(COMPLETED, is_readable=False)
    assert compare(one, one, graph, {"m": gone}) == {"m": Why.UNREADABLE}
    assert compare(one, one, graph, {"m": OldNode(COMPLETED)}, "m[1]") == {"m": Why.FORK}


def test_given_values_are_compared_by_digest() -> None:
    def with_value(digest: str) -> FlowSpec:
        return spec(
            node("a", "v"),
            node("b"),
            v=ResultRef(place=StorageKind.OBJECT, key=digest, sha256=digest),
        )

    assert decide(with_value("1"), with_value("1"), DONE) == {"a": None, "b": None}
    assert decide(with_value("1"), with_value("2"), DONE) == {"a": Why.CHANGED, "b": None}


def test_items_are_named_by_their_map_and_index() -> None:
    assert item_of("a[12]") == ("a", 12)
    assert item_of("a") is None
    assert item_of("a[x]") is None


@st.composite
def graphs(draw: st.DrawFn) -> tuple[FlowSpec, dict[str, StepState], str | None]:
    keys = [f"k{place}" for place in range(draw(st.integers(1, 8)))]
    steps = [
        node(key, *draw(st.lists(st.sampled_from(keys[:place]), unique=True)) if place else ())
        for place, key in enumerate(keys)
    ]
    states = {key: draw(st.sampled_from([COMPLETED, FAILED, SKIPPED])) for key in keys}
    return spec(*steps), states, draw(st.none() | st.sampled_from(keys))


@given(graphs())
def test_a_step_is_reused_exactly_if_nothing_at_or_before_it_has_to_run(
    case: tuple[FlowSpec, dict[str, StepState], str | None],
) -> None:
    flow, states, fork = case
    graph = Graph.of(flow)
    found = decide(flow, flow, states, fork)
    causes = {key for key in states if states[key] is FAILED or key == fork}
    runs = causes.union(*(after(graph, key) for key in causes)) if causes else set()
    assert {key for key, why in found.items() if why is not None} == runs
    seen: set[str] = set()
    for key in found:  # dependencies come first
        assert set(graph.dependencies[key]) <= seen
        seen.add(key)
