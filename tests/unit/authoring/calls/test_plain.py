"""Steps and flows as ordinary Python, with no broker and no database."""

import asyncio
from typing import Any

import pytest

from flowq.authoring.calls.refs import length
from flowq.authoring.definitions.flows import flow
from flowq.authoring.definitions.steps import step
from flowq.core.errors import InvalidFlow
from flowq.core.results import StepFailure


@step
def halve(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


@step(allow_failure=True)
def risky(n: int) -> int:
    return halve(n)


@step
def add(a: int, b: int = 0) -> int:
    return a + b


@step
async def slow(n: int) -> int:
    return n + 1


@step
def bridge(n: int) -> int:
    return int(asyncio.run(slow(n)))


@flow
def child(n: int) -> int:
    return add(n, b=100)


def test_step_is_an_ordinary_function() -> None:
    """A call gives what the function gives, with its name, text and errors."""
    assert 2 == halve(4)
    assert "halve" == halve.__name__  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="3 is odd"):
        halve(3)
    with pytest.raises(TypeError, match="missing 1 required"):
        halve()  # type: ignore[call-arg]


def test_step_by_itself_raises_though_a_flow_may_continue() -> None:
    """A unit test of a step sees its error, whatever flows do with it."""
    with pytest.raises(ValueError, match="3 is odd"):
        risky(3)


def test_async_step_gives_its_coroutine() -> None:
    """Outside a flow an async step is awaited as any coroutine function."""
    assert 2 == asyncio.run(slow(1))


def test_map_goes_over_the_items() -> None:
    """One call per item, constants beside it."""
    assert [11, 12] == add.map([1, 2], b=10)
    assert [11, 12] == add.map(iter([10, 11]), a=1)
    assert [] == add.map([])


def test_map_raises_the_first_failure() -> None:
    """No item may fail unless that was said."""
    with pytest.raises(ValueError, match="3 is odd"):
        halve.map([2, 3, 5])


def test_tolerated_failures_are_in_the_list() -> None:
    """What failed is named, with its item; more than that raises."""
    failure = StepFailure(step="halve", index=1, item=3, error="ValueError", message="3 is odd")

    assert [1, failure, 2] == halve.map([2, 3, 4], tolerate=1)
    assert [1, failure, 2] == halve.map([2, 3, 4], tolerate="34%")
    with pytest.raises(ValueError, match="5 is odd"):
        halve.map([2, 3, 5], tolerate=1)


def test_false_condition_gives_none() -> None:
    """A skipped step leaves None."""
    assert halve.options(when=0)(4) is None
    assert halve.options(when=[])(3) is None
    assert add.options(when=False).map([1]) is None
    assert 2 == halve.options(when="yes", retries=3, queue="q", after=[1], key="k")(4)


def test_flow_runs_as_plain_python() -> None:
    """A flow is tested by calling it; its conditions and child flows work."""

    @flow
    def shop(numbers: list[int]) -> Any:
        halves = halve.map(numbers, tolerate=1)
        many = length(halves) > 2
        return halves, add.options(when=many)(1), add.options(when=many == False)(2), child(1)  # noqa: E712

    assert ([1, 2], None, 2, 101) == shop([2, 4])


def test_allowed_failure_in_a_flow_is_a_value() -> None:
    """A step that may fail leaves its failure, a map as a whole too."""

    @flow
    def shop() -> Any:
        return risky(3), risky.map([2, 5])

    one, many = shop()

    assert StepFailure(step="risky", error="ValueError", message="3 is odd") == one
    assert StepFailure(step="risky", error="ValueError", message="5 is odd") == many


def test_async_step_in_a_plain_flow_is_refused() -> None:
    """Nothing awaits it there, and a coroutine must not pass for a result."""

    @flow
    def shop() -> Any:
        return slow(1)

    with pytest.raises(InvalidFlow, match="step 'slow' is async"):
        shop()


def test_code_of_a_step_is_no_part_of_the_flow() -> None:
    """What a step's function calls on its own are ordinary functions again."""

    @flow
    def shop() -> Any:
        return bridge(1)

    assert 2 == shop()
