"""Tracing: which graph a flow's function makes, and what it may not do."""

import contextvars
import threading
from typing import Any

import pytest

from flowq.authoring.calls.refs import length
from flowq.authoring.definitions.flows import flow
from flowq.authoring.definitions.steps import step
from flowq.core.errors import InvalidFlow, InvalidInput
from flowq.core.graph import Graph
from flowq.core.retries import RetryPolicy
from flowq.core.spec import FailurePolicy, FlowSpec, MapSpec, StepKind, Tolerance
from flowq.engine.registry.registry import registry


@step
def fetch(url: str, depth: int = 1) -> dict[str, Any]:
    return {"url": url, "depth": depth}


@step
def collect(*parts: Any, **named: Any) -> list[Any]:
    return [*parts, *named.values()]


@step
def positional(item: int, /, factor: int) -> int:
    return item * factor


@step
def patient(tolerate: int, x: int) -> int:
    return tolerate * x


@flow
def child(url: str, n: int = 1) -> Any:
    return fetch(url, n)


def test_calls_become_nodes_in_order() -> None:
    """Each call is a node; keys are the function's name, then numbered."""

    @flow
    def crawl(urls: list[str]) -> Any:
        pages = [fetch(url) for url in urls]
        return collect(*pages)

    spec = crawl.spec(["a", "b", "c"])

    assert ["fetch", "fetch-2", "fetch-3", "collect"] == [item.key for item in spec.steps]
    assert {"url": "b"} == spec.step("fetch-2").arguments
    assert fetch.type.name == spec.step("fetch").name
    assert ("fetch", "fetch-2", "fetch-3") == Graph.of(spec).dependencies["collect"]
    assert {"$ref": "collect"} == spec.output


def test_given_key_is_kept_free_by_numbering() -> None:
    """A key that an option gave is not made again."""

    @flow
    def crawl() -> None:
        fetch.options(key="fetch-2")("a")
        fetch("b")
        fetch("c")

    assert ["fetch-2", "fetch", "fetch-3"] == [item.key for item in crawl.spec().steps]


def test_key_given_twice_is_refused() -> None:
    """Two nodes cannot have one key, and the second call is named."""

    @flow
    def crawl() -> None:
        fetch.options(key="a")("a")
        fetch.options(key="a")("b")

    with pytest.raises(InvalidFlow, match=r"two steps with the key 'a' \(.*test_tracing.py:\d+\)"):
        crawl.spec()


def test_inputs_are_real_values() -> None:
    """A flow decides by its checked inputs with plain Python."""

    @flow
    def crawl(*, deep: bool, n: int) -> None:
        for _ in range(n if deep else 1):
            fetch("a")

    assert 3 == len(crawl.spec(deep="yes", n="3").steps)  # type: ignore[arg-type]
    assert 1 == len(crawl.spec(deep=False, n=3).steps)


def test_paths_and_nested_arguments_are_templates() -> None:
    """Refs may stand anywhere in lists and dicts, also in what is returned."""

    @flow
    def crawl() -> Any:
        page = fetch("a")
        made = collect([page["url"], 1], named={"k": (page["links"][0],)})
        return {"made": made, "page": [page["url"]], "note": None}

    spec = crawl.spec()

    assert {
        "parts": [[{"$ref": "fetch", "path": ["url"]}, 1]],
        "named": {"named": {"k": [{"$ref": "fetch", "path": ["links", 0]}]}},
    } == spec.step("collect").arguments
    assert {
        "made": {"$ref": "collect"},
        "page": [{"$ref": "fetch", "path": ["url"]}],
        "note": None,
    } == spec.output


def test_map_over_a_ref_and_over_a_list() -> None:
    """The item takes the first parameter that no constant names."""

    @flow
    def crawl() -> Any:
        urls = collect("a")
        pages = fetch.map(urls, depth=2, tolerate="5%")
        depths = fetch.map([1, pages[0]], url="x", tolerate=3)
        return positional.map(depths, factor=urls)

    spec = crawl.spec()

    assert (
        MapSpec(parameter="url", items={"$ref": "collect"}, tolerance=Tolerance(percent=5))
        == spec.step("fetch").map
    )
    assert {"depth": 2} == spec.step("fetch").arguments
    assert (
        MapSpec(
            parameter="depth",
            items=[1, {"$ref": "fetch", "path": [0]}],
            tolerance=Tolerance(count=3),
        )
        == spec.step("fetch-2").map
    )
    assert "item" == getattr(spec.step("positional").map, "parameter", None)
    assert {"factor": {"$ref": "collect"}} == spec.step("positional").arguments


def test_parameter_named_tolerate_comes_first() -> None:
    """A step's own parameter wins; the option still says the other thing."""

    @flow
    def crawl() -> None:
        patient.options(tolerate=2).map([1], tolerate=7)

    node = crawl.spec().steps[0]

    assert {"tolerate": 7} == node.arguments
    assert MapSpec(parameter="x", items=[1], tolerance=Tolerance(count=2)) == node.map


def test_map_over_any_iterable_and_nothing() -> None:
    """Ranges and generators become lists; an empty list is fine."""

    @flow
    def crawl() -> None:
        positional.map(range(3), factor=1)
        positional.map((n for n in (1, 2)), factor=1)
        positional.map([], factor=1)

    maps = [item.map for item in crawl.spec().steps]

    assert [[0, 1, 2], [1, 2], []] == [one.items for one in maps if one]


@pytest.mark.parametrize("items", ["text", b"bytes", {"a": 1}, 3, None])
def test_map_over_what_is_no_list_is_refused(items: Any) -> None:
    """Going over the letters of a string is never what was meant."""

    @flow
    def crawl() -> None:
        fetch.map(items)

    with pytest.raises(InvalidFlow, match=f"to map over is a {type(items).__name__}"):
        crawl.spec()


def test_options_reach_the_node() -> None:
    """Options of the decorator and of each call end in the spec, the later ones winning."""

    @step(retries=2, retry_delay=3, timeout=10, queue="slow")
    def work(x: Any) -> Any:
        return x

    @flow
    def crawl() -> None:
        first = fetch("a")
        other = fetch("b")
        ready = work.options(retries=4, queue=None).options(allow_failure=True, timeout=0.5)
        ready.options(after=[first["x"], other, first], accept_skipped=True)(1)

    node = crawl.spec().step("work")

    assert RetryPolicy.model_validate({"max_attempts": 5, "initial_delay": 3}) == node.retry
    assert 0.5 == node.timeout.total_seconds() if node.timeout else None
    assert node.queue is None
    assert node.allow_failure
    assert node.accept_skipped
    assert ("fetch", "fetch-2") == node.after


def test_conditions_of_refs_are_expressions() -> None:
    """Comparisons, joins and lengths are kept for the worker; constants are decided at once."""

    @flow
    def crawl(*, flag: bool) -> None:
        page = fetch("a")
        found = collect(page)
        both = (length(found) > 2) & ~(page["lang"] == "de")
        fetch.options(when=both)("b")
        fetch.options(when=page["ok"])("c")
        fetch.options(when=flag)("d")

    spec = crawl.spec(flag=False)

    assert {
        "$op": "and",
        "args": [
            {"$op": ">", "args": [{"$op": "len", "args": [{"$ref": "collect"}]}, 2]},
            {
                "$op": "not",
                "args": [{"$op": "==", "args": [{"$ref": "fetch", "path": ["lang"]}, "de"]}],
            },
        ],
    } == spec.step("fetch-2").when
    assert {"$ref": "fetch", "path": ["ok"]} == spec.step("fetch-3").when
    assert spec.step("fetch-4").when is False
    assert crawl.spec(flag=True).step("fetch-4").when is None


def test_flow_in_a_flow_is_a_child_run() -> None:
    """A called flow is one node, whose arguments are its inputs."""

    @flow
    def crawl() -> Any:
        page = fetch("a")
        one = child.options(when=page["ok"], after=page, allow_failure=True, key="kid")(page["url"])
        return one, child.map(page["links"], n=2)

    spec = crawl.spec()

    kid = spec.step("kid")
    assert (StepKind.FLOW, child.type.name) == (kid.kind, kid.name)
    assert {"url": {"$ref": "fetch", "path": ["url"]}} == kid.arguments
    assert (("fetch",), True) == (kid.after, kid.allow_failure)
    many = spec.step("child")
    assert (StepKind.FLOW, {"n": 2}) == (many.kind, many.arguments)
    assert "url" == getattr(many.map, "parameter", None)


@pytest.mark.parametrize(
    "call, problem",
    [
        (fetch, "missing a required argument: 'url'"),
        (lambda: fetch("a", colour=1), "unexpected keyword argument 'colour'"),  # type: ignore[call-arg]
        (child, "missing a required argument: 'url'"),
        (lambda: fetch.map([1], url=1, depth=2), "no parameter is left for the item"),
        (lambda: fetch.map([1], colour=2), "unexpected keyword argument 'colour'"),
        (lambda: collect.map([1]), "no parameter is left for the item"),
    ],
)
def test_wrong_call_is_refused_with_its_place(call: Any, problem: str) -> None:
    """The message names flow, step and line, and how the step is defined."""

    @flow(name="shop")
    def crawl() -> None:
        call()

    with pytest.raises(InvalidFlow, match=problem) as caught:
        crawl.spec()

    assert caught.match(r"flow 'shop': (step|flow) '(fetch|child|collect)'")
    assert caught.match(r"test_tracing.py:\d+")
    assert caught.match(r"it is defined as (fetch|child|collect)\(")


def test_tolerate_without_map_is_refused() -> None:
    """One call has no items to tolerate."""

    @flow
    def crawl() -> None:
        fetch.options(tolerate=1)("a")

    with pytest.raises(InvalidFlow, match=r"fetch\.map"):
        crawl.spec()


def test_after_takes_only_results_of_steps() -> None:
    """A step itself, or a value, is no node to wait for."""

    @flow
    def crawl() -> None:
        fetch.options(after=fetch)("a")

    with pytest.raises(InvalidFlow, match="after= of step 'fetch' contains a Step"):
        crawl.spec()


def test_ref_of_another_trace_is_refused() -> None:
    """A Ref that was kept from one run cannot get into another, in whatever way."""
    kept: list[Any] = []

    @flow
    def first() -> None:
        kept.append(fetch("a"))

    first.spec()
    ways = [
        lambda: fetch(kept[0]),
        lambda: fetch.map(kept[0]),
        lambda: fetch.options(when=kept[0] == 1)("a"),
        lambda: fetch.options(after=kept)("a"),
    ]
    for way in ways:

        @flow
        def second(way: Any) -> None:
            way()

        with pytest.raises(InvalidFlow, match="another flow"):
            second.spec(way)

    @flow
    def third() -> Any:
        return kept

    with pytest.raises(InvalidFlow, match=r"the return value, at \[0\], .*test_tracing.py:\d+"):
        third.spec()


def test_ref_outside_a_trace_is_refused() -> None:
    """An ordinary call of a step cannot take a Ref."""
    kept: list[Any] = []

    @flow
    def first() -> None:
        kept.append(fetch("a"))

    first.spec()

    with pytest.raises(InvalidFlow, match="outside the function of a flow"):
        fetch(kept[0])
    with pytest.raises(InvalidFlow, match="outside the function of a flow"):
        fetch.map(kept[0])
    with pytest.raises(InvalidInput, match="expected a value, got <Ref fetch>"):
        child.spec(kept[0])


def test_errors_of_the_function_pass_through() -> None:
    """The author's own exception, with the author's traceback, and no trace left behind."""

    @flow
    def crawl() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        crawl.spec()

    assert {"url": "a", "depth": 1} == fetch("a")


def test_thread_takes_no_part_in_a_trace() -> None:
    """A thread that a flow starts calls the plain function."""
    seen: list[Any] = []

    @flow
    def crawl() -> None:
        thread = threading.Thread(
            target=contextvars.Context().run, args=(lambda: seen.append(fetch("a")),)
        )
        thread.start()
        thread.join()

    assert () == crawl.spec().steps
    assert [{"url": "a", "depth": 1}] == seen


def test_traces_within_traces_do_not_mix() -> None:
    """Asking for the graph of another flow while tracing leaves both whole."""

    @flow
    def crawl() -> int:
        fetch("a")
        inner = child.spec("b")
        fetch("c")
        return len(inner.steps)

    spec = crawl.spec()

    assert (2, 1) == (len(spec.steps), spec.output)


def test_policy_and_name_are_kept() -> None:
    """What `@flow(...)` says stands in the spec and in the registry."""

    @flow(name="my shop", on_failure="continue")
    def crawl() -> int:
        return 1

    assert (
        FlowSpec(name="my shop", steps=(), output=1, on_failure=FailurePolicy.CONTINUE)
        == crawl.spec()
    )
    assert crawl.type is registry.flows["my shop"]
    assert int is crawl.type.returns


def test_spec_survives_json() -> None:
    """What is stored with a run gives the same spec again."""

    @flow
    def crawl() -> Any:
        page = fetch.options(timeout=3, retries=1)("a")
        return collect(page, {"$ref": "just text"}).copy

    spec = crawl.spec()

    assert spec == FlowSpec.model_validate(spec.to_json())


def _generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    "function, hint",
    [
        (_generator, "return a list"),
        (fetch, "made with @step"),
        (child, "once"),
        (int, "makes an instance"),
        (lambda: 1, "has no name"),
    ],
)
def test_what_cannot_be_a_flow_is_refused(function: Any, hint: str) -> None:
    """Only plain functions can be traced; the message says what to write."""
    with pytest.raises(InvalidFlow, match=hint):
        flow(function)


def test_flow_with_nameless_inputs_is_refused() -> None:
    """Inputs are given by name, so each needs one."""
    with pytest.raises(InvalidFlow, match=r"the parameter `\*urls"):

        @flow
        def crawl(*urls: str) -> None: ...


def test_unknown_policy_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(InvalidFlow, match="fail_fast, continue"):
        flow(on_failure="never")  # type: ignore[call-overload]


def test_enqueue_while_tracing_is_refused() -> None:
    """Drawing a graph must never start a run."""

    @flow
    def crawl() -> None:
        child.enqueue("a")

    with pytest.raises(InvalidFlow, match=r"call it, child\(…\)"):
        crawl.spec()


def test_enqueue_submits_named_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positional inputs get their names; options go beside them."""
    submitted: list[Any] = []

    def submit(flow_type: Any, inputs: Any, **given: Any) -> str:
        submitted.append((flow_type, inputs, given))
        return "run"

    monkeypatch.setattr("flowq.client.submit", submit)

    run: Any = child.options(user_id="u1").options(metadata={"a": 1}).enqueue("a", n=3)

    assert "run" == run
    assert [
        (child.type, {"url": "a", "n": 3}, {"user_id": "u1", "metadata": {"a": 1}}),
    ] == submitted
