"""Calls in `async def` flows: what is recorded of them, and what cannot be."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

import flowq
from flowq.authoring.calls.refs import Ref
from flowq.authoring.definitions.flows import AsyncFlow, flow
from flowq.authoring.definitions.steps import step
from flowq.core.errors import InvalidFlow, InvalidInput, StepFailed
from flowq.core.results import StepFailure
from flowq.core.spec import StepKind, StepSpec
from flowq.engine.replay import Continued, ProgramCall, Raised, ReplayOutcome, Returned
from flowq.engine.results.codecs import adapter_for
from flowq.engine.runs.options import as_json
from tests.tools.replaying import START, done, failed, start


class Page(BaseModel):
    title: str
    day: date = date(2030, 1, 2)


@step
async def fetch(url: str, *more: str, page: Page | None = None, **rest: Any) -> Any: ...


@step(retries=2, timeout=5, queue="slow")
def size(data: Any) -> Any:
    return len(data)


@step(allow_failure=True)
async def risky(n: int) -> int:
    return n


@flow
async def child(n: int, text: str = "x") -> str:
    return text * n


@flow
def graph(n: int) -> Any:
    return size(n)


def calls(function: Callable[..., Coroutine[Any, Any, Any]]) -> tuple[ProgramCall, ...]:
    """Return what a program calls before it waits."""
    return progress(function).calls


def progress(function: Callable[..., Coroutine[Any, Any, Any]], *ended: Any) -> ReplayOutcome:
    with closing(start(function)) as execution:
        execution.feed(list(ended))
        found = execution.run()
        if isinstance(found.end, Raised):
            raise found.end.error
        return found


def spec(function: Callable[..., Coroutine[Any, Any, Any]]) -> StepSpec:
    (one,) = calls(function)
    return one.spec


# --- what is recorded ----------------------------------------------------------------------------


def test_call_of_a_step_has_its_name_and_arguments() -> None:
    async def program() -> None:
        await fetch("a", "b", "c", page=Page(title="t"), x=1)

    made = spec(program)

    assert ("fetch#1", fetch.type.name, StepKind.STEP) == (made.key, made.name, made.kind)
    assert {
        "url": "a",
        "more": ["b", "c"],
        "page": {"title": "t", "day": "2030-01-02"},
        "rest": {"x": 1},
    } == made.arguments


def test_call_has_the_options_of_its_step() -> None:
    async def program() -> None:
        await size.options(key="measure")([1])

    made = spec(program)

    assert "measure#1" == made.key
    assert (3, timedelta(seconds=5), "slow") == (made.retry.max_attempts, made.timeout, made.queue)


def test_arguments_are_those_of_the_moment_of_the_call() -> None:
    async def program() -> None:
        items = [1]
        one = size(items)
        items.append(2)
        await one

    assert {"data": [1]} == spec(program).arguments


def test_data_that_looks_like_a_reference_stays_data() -> None:
    async def program() -> None:
        await size({"$ref": "fetch"})

    assert {"data": {"$literal": {"$ref": "fetch"}}} == spec(program).arguments


def test_set_is_recorded_in_the_same_order_in_each_process() -> None:
    async def program() -> None:
        await size({"b", "c", "a"})

    assert {"data": ["a", "b", "c"]} == spec(program).arguments


@pytest.mark.parametrize(
    "value", [b"pdf", "long" * 300, Path("/tmp/x"), Decimal("1.5"), UUID(int=1)]
)
def test_result_is_passed_on_by_reference(value: Any) -> None:
    async def program() -> None:
        data = await fetch("a")
        await size({"files": [data]})

    (made,) = progress(program, done("fetch#1", value)).calls[1:]

    assert {"data": {"files": [{"$ref": "fetch#1"}]}} == made.spec.arguments


@pytest.mark.parametrize("value", ["short", 7, [1], Page(title="t"), None, True])
def test_small_result_is_passed_on_as_it_is(value: Any) -> None:
    async def program() -> None:
        await size(await fetch("a"))

    (made,) = progress(program, done("fetch#1", value)).calls[1:]

    assert "$ref" not in str(made.spec.arguments)


def test_bytes_that_are_no_result_cannot_be_passed() -> None:
    async def program() -> None:
        await size(b"made here")

    with pytest.raises(InvalidFlow, match="holds bytes, which JSON cannot represent"):
        calls(program)


def test_map_is_one_call() -> None:
    async def program() -> None:
        await size.map([[1], [2, 3]], tolerate=1)

    made = spec(program)

    assert made.map is not None
    assert ("data", [[1], [2, 3]], 1) == (
        made.map.parameter,
        made.map.items,
        made.map.tolerance.count,
    )


def test_flow_is_a_child_run() -> None:
    async def program() -> None:
        await asyncio.gather(child(2), graph(n=3), child.map([1, 2], text="y"))

    assert [
        ("child#1", StepKind.FLOW, {"n": 2}),
        ("graph#2", StepKind.FLOW, {"n": 3}),
        ("child#3", StepKind.FLOW, {"text": "y"}),
    ] == [(one.key, one.spec.kind, one.spec.arguments) for one in calls(program)]


def test_step_whose_condition_is_false_is_not_called() -> None:
    async def program() -> Any:
        return await size.options(when=False)([1]), await size.options(when=[1])([2])

    found = progress(program)

    assert ["size#2"] == [one.key for one in found.calls]


def test_failure_that_is_allowed_comes_as_a_value() -> None:
    async def program() -> Any:
        return await risky(1)

    found = progress(program, failed("risky#1", "KeyError", "x"))

    assert Returned(StepFailure(step="risky#1", error="KeyError", message="x")) == found.end


# --- what is refused -----------------------------------------------------------------------------


async def _wrong_argument() -> None:
    await fetch()  # type: ignore[call-arg]


async def _ref() -> None:
    await size(Ref(object(), None))  # type: ignore[arg-type]


async def _after() -> None:
    await size.options(after=1)([1])


async def _tolerate() -> None:
    await size.options(tolerate=1)([1])


async def _text_map() -> None:
    await size.map("abc")


async def _enqueue() -> None:
    child.enqueue(n=1)


async def _task_continues() -> None:
    async def inner() -> None:
        flowq.continue_as_new()

    await asyncio.create_task(inner())


@pytest.mark.parametrize(
    "program, said",
    [
        (_wrong_argument, "step 'fetch' is called wrongly"),
        (_ref, "belongs to another flow"),
        (_after, "has after= in an `async def` flow"),
        (_tolerate, "has tolerate="),
        (_text_map, "is mapped over a str"),
        (_enqueue, "is enqueued while another flow runs"),
        (_task_continues, "in a task that the flow started"),
        (lambda: flowq.sleep(-1), "is negative"),
        (lambda: flowq.signal(""), "the name of a signal"),
        (lambda: flowq.signal("x", timeout=0), "timeout is 0"),
    ],
)
def test_wrong_call_says_what_is_wrong(
    program: Callable[[], Coroutine[Any, Any, Any]], said: str
) -> None:
    async def of_program() -> None:
        await program()

    with pytest.raises(InvalidFlow) as raised:
        calls(of_program)

    assert said in raised.value.message
    assert raised.value.hint or "negative" in said or "timeout" in said


def test_wrong_input_of_a_flow_is_reported_at_the_call() -> None:
    async def program() -> None:
        await child("many")  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match="n: expected a valid integer"):
        calls(program)


def test_async_flow_has_no_policy_for_failures() -> None:
    with pytest.raises(InvalidFlow, match="has on_failure="):

        @flow(on_failure="continue")
        async def program() -> None: ...


# --- time, chance, signals -----------------------------------------------------------------------


def test_sleep_is_a_timer() -> None:
    async def program() -> None:
        await flowq.sleep(timedelta(days=30))

    (made,) = calls(program)

    assert ("sleep#1", StepKind.TIMER, timedelta(days=30)) == (
        made.key,
        made.spec.kind,
        made.delay,
    )


def test_now_uuid_and_random_are_the_same_in_each_replay() -> None:
    async def program() -> Any:
        first = [flowq.now(), flowq.uuid(), flowq.random()]
        await fetch("a")
        return [*first, flowq.now(), flowq.uuid(), flowq.random()]

    ends = [progress(program, done("fetch#1", after=5)).end for _ in range(2)]

    assert ends[0] == ends[1]
    assert isinstance(ends[0], Returned)
    now, one, number, later, other, another = ends[0].value
    assert (START, START + timedelta(seconds=5)) == (now, later)
    assert one != other
    assert 4 == one.version
    assert number != another
    assert 0 <= number < 1


def test_signal_says_what_it_has_to_be() -> None:
    async def program() -> None:
        await flowq.signal("approve", Page, timeout=60)

    (made,) = calls(program)

    assert ("approve#1", "approve", StepKind.SIGNAL, timedelta(seconds=60)) == (
        made.key,
        made.spec.name,
        made.spec.kind,
        made.delay,
    )
    assert "title" in made.spec.arguments["schema"]["$literal"]["properties"]


def test_signal_comes_as_what_it_was_asked_for() -> None:
    async def program() -> Any:
        return await flowq.signal("approve", Page)

    found = progress(program, done("approve#1", {"title": "t", "day": "2031-02-03"}))

    assert Returned(Page(title="t", day=date(2031, 2, 3))) == found.end


def test_signal_that_does_not_fit_is_passed_over() -> None:
    async def program() -> Any:
        return await flowq.signal("approve", Page, timeout=60)

    found = progress(program, done("approve#1", "no page", after=20))

    assert ["approve#2"] == list(found.waiting)
    assert timedelta(seconds=40) == found.calls[-1].delay


def test_flow_continues_with_new_inputs() -> None:
    async def program() -> None:
        flowq.continue_as_new(n=2)

    assert Continued({"n": 2}) == progress(program).end


@pytest.mark.parametrize("name", ["now", "uuid", "random"])
def test_outside_a_flow_they_are_refused(name: str) -> None:
    with pytest.raises(InvalidFlow, match=rf"flowq\.{name}\(\) is called outside"):
        getattr(flowq, name)()


# --- the spec of a run ---------------------------------------------------------------------------


def test_run_of_an_async_flow_is_one_node() -> None:
    made = child.spec(3, text="a")

    (node,) = made.steps
    assert ("child", child.type.name, StepKind.PROGRAM) == (node.key, node.name, node.kind)
    assert {"n": 3, "text": "a"} == node.arguments
    assert {"$ref": "child"} == made.output


def test_inputs_come_back_as_they_were() -> None:
    """The program of a run gets what JSON makes of its inputs, as their annotations want it."""

    @flow(name="tests.typed_inputs")
    async def typed(page: Page, at: datetime, file: Path, names: set[str]) -> None: ...

    given = {"page": Page(title="t"), "at": datetime(2030, 1, 1, tzinfo=UTC), "file": Path("a")}
    checked = typed.type.validate({**given, "names": {"b", "a"}})

    node = typed.type.trace(checked).steps[0]
    assert checked == typed.type.validate(node.arguments)
    assert as_json(checked, "they", 1000) == node.arguments


def test_return_annotation_is_that_of_the_value() -> None:
    assert str is child.type.returns
    assert isinstance(child, AsyncFlow)
    assert "x" == adapter_for(child.type.returns).validate_python("x")


# --- plain Python --------------------------------------------------------------------------------


@step
def halve(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


@step
async def double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


@flow
async def mixed(n: int) -> list[Any]:
    half = await halve(n)  # type: ignore[misc]  # typed as in a graph
    both = await asyncio.gather(double(half), child(half), graph_of(half))
    mapped = await double.map([1, 2])
    await flowq.sleep(0)
    try:
        await halve(1)  # type: ignore[misc]
    except StepFailed as error:
        caught = error.error
    return [*both, mapped, caught, 0 <= flowq.random() < 1, flowq.now().tzinfo, flowq.uuid()]


@flow
def graph_of(n: int) -> Any:
    return halve(n)


def test_async_flow_is_plain_python_outside_of_flows() -> None:
    result = asyncio.run(mixed(4))

    assert [4, "xx", 1, [2, 4], "ValueError", True, UTC] == result[:-1]
    assert isinstance(result[-1], UUID)


def test_steps_that_run_alone_are_what_they_were() -> None:
    assert 2 == halve(4)
    assert 8 == asyncio.run(double(4))
    with pytest.raises(ValueError, match="3 is odd"):
        halve(3)


def test_plain_flow_waits_for_no_signal() -> None:
    @flow(name="tests.waits_for_signal")
    async def waits() -> None:
        await flowq.signal("x")

    with pytest.raises(InvalidFlow, match="runs as plain Python"):
        asyncio.run(waits())


def test_graph_that_runs_as_plain_python_cannot_wait_for_a_program() -> None:
    @flow(name="tests.graph_over_program")
    def outer() -> Any:
        return child(1)

    with pytest.raises(InvalidFlow, match="flow 'child' is async"):
        outer()
