"""Middleware runs around the function of a step, in each attempt, where the function runs."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from flowq import RetryPolicy, StepCall, StepContext, errors, flow, step, testing, use
from flowq.engine.registry.registry import registry
from flowq.engine.runtime.middleware import Middleware, Next

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


class Seen:
    """What happened, in order."""

    lines: list[str] = []  # noqa: RUF012 - one for the module
    change: Callable[[Any], Any] = staticmethod(lambda value: value)


@pytest.fixture(autouse=True)
def seen() -> Iterator[None]:
    Seen.lines, Seen.change = [], staticmethod(lambda value: value)
    with registry.forgetting():
        yield


def named(name: str) -> Middleware:
    async def middleware(step: StepCall, context: StepContext, call_next: Next) -> Any:
        Seen.lines.append(f"{name} before {step.name} {dict(step.arguments)} {context.attempt}")
        try:
            return Seen.change(await call_next())
        finally:
            Seen.lines.append(f"{name} after")

    return middleware


class SetsTenant:
    """An object whose `__call__` is a coroutine function."""

    async def __call__(self, step: StepCall, context: StepContext, call_next: Next) -> Any:
        tenant.set(step.arguments["customer"])
        return await call_next()


inner, outer = named("inner"), named("outer")


@step(name="mw.plain", middleware=[outer, inner])
def plain(value: int) -> int:
    Seen.lines.append("function")
    return value + 1


@step(name="mw.later", middleware=[outer, inner])
async def later(value: int) -> int:
    await asyncio.sleep(0)
    Seen.lines.append("function")
    return value + 1


@step(name="mw.who", middleware=[SetsTenant()])
def who(customer: str) -> str:
    return tenant.get()


@step(name="mw.who_later", middleware=[SetsTenant()])
async def who_later(customer: str) -> str:
    await asyncio.sleep(0)
    return tenant.get()


@step(name="mw.who_in_time", middleware=[SetsTenant()], timeout=60)
def who_in_time(customer: str) -> str:
    return tenant.get()


@flow(name="mw.one")
def one(kind: str, value: int) -> Any:
    return {"plain": plain, "later": later}[kind](value)


@flow(name="mw.tenants")
def tenants() -> Any:
    return [who("ann"), who_later("bob"), who_in_time("eve"), who("dan")]


@pytest.mark.parametrize("kind", ["plain", "later"])
def test_first_is_outermost_and_those_of_all_steps_run_around_those_of_one(kind: str) -> None:
    use(named("every"), named("every too"))

    assert 3 == testing.run(one, {"kind": kind, "value": 2})

    called = f"mw.{kind} {{'value': 2}} 1"
    assert [
        f"every before {called}",
        f"every too before {called}",
        f"outer before {called}",
        f"inner before {called}",
        "function",
        *["inner after", "outer after", "every too after", "every after"],
    ] == Seen.lines


@pytest.mark.parametrize("kind", ["plain", "later"])
def test_result_can_be_changed(kind: str) -> None:
    Seen.change = staticmethod(lambda value: value * 10)

    assert 300 == testing.run(one, {"kind": kind, "value": 2})


def test_function_sees_context_variables_and_the_next_step_does_not() -> None:
    assert ["ann", "bob", "eve", "dan"] == testing.run(tenants)
    assert "nobody" == tenant.get()


@pytest.mark.parametrize("is_async", [False, True])
def test_error_passes_through_in_each_attempt_and_may_be_replaced(*, is_async: bool) -> None:
    async def to_value_error(step: StepCall, context: StepContext, call_next: Next) -> Any:
        try:
            return await call_next()
        except KeyError as error:
            Seen.lines.append(f"attempt {context.attempt}")
            raise ValueError("no such key") from error

    def fails() -> None:
        raise KeyError("a")

    async def fails_later() -> None:
        raise KeyError("a")

    work = step(
        name="mw.fails",
        middleware=[to_value_error],
        retry=RetryPolicy(max_attempts=3, jitter=0),
    )(fails_later if is_async else fails)

    @flow(name="mw.failing")
    def failing() -> Any:
        return work()

    with pytest.raises(errors.RunFailed, match="failed: no such key"):
        testing.run(failing)
    assert ["attempt 1", "attempt 2", "attempt 3"] == Seen.lines


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("times, expected", [(0, "instead"), (2, "2 calls")])
def test_function_may_be_left_out_or_called_again(
    times: int, expected: str, *, is_async: bool
) -> None:
    calls = []

    async def again(step: StepCall, context: StepContext, call_next: Next) -> Any:
        result = "instead"
        for _ in range(times):
            result = await call_next()
        return result

    def work() -> str:
        calls.append(1)
        return f"{len(calls)} calls"

    async def work_later() -> str:
        return work()

    made = step(name="mw.again", middleware=[again])(work_later if is_async else work)

    @flow(name="mw.repeating")
    def repeating() -> Any:
        return made()

    assert expected == testing.run(repeating)


def test_middleware_that_awaits_around_a_step_that_is_not_async_is_refused() -> None:
    async def waits(step: StepCall, context: StepContext, call_next: Next) -> Any:
        class Suspended:
            def __await__(self) -> Any:
                yield

        await Suspended()
        return await call_next()

    @step(name="mw.never", middleware=[waits])
    def never() -> None:
        Seen.lines.append("function")

    @flow(name="mw.waiting")
    def waiting() -> Any:
        return never()

    with pytest.raises(errors.RunFailed, match="awaits something else than call_next"):
        testing.run(waiting)
    assert [] == Seen.lines


def hidden(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """A decorator after which nobody sees that the function is async."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    del call.__wrapped__
    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call


def test_function_that_hides_that_it_is_async_ends_before_its_middleware() -> None:
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        Seen.lines.append("function")
        return value

    made = step(name="mw.hidden", middleware=[inner])(hidden(work))

    @flow(name="mw.hiding")
    def hiding() -> Any:
        return made(7)

    assert 7 == testing.run(hiding)
    assert ["function", "inner after"] == Seen.lines[1:]


def test_fake_of_a_step_has_its_middleware() -> None:
    use(named("every"))

    assert 9 == testing.run(one, {"kind": "plain", "value": 2}, fakes={plain: lambda value: 9})
    assert ["every after"] == Seen.lines[-1:]
    assert 6 == len(Seen.lines)


def test_call_outside_of_a_flow_has_no_middleware() -> None:
    assert 3 == plain(2)
    assert ["function"] == Seen.lines


def test_same_object_runs_once_however_often_it_is_given() -> None:
    use(inner)
    use(inner, inner)

    assert (inner,) == registry.middleware


def no_coroutine(step: StepCall, context: StepContext, call_next: Next) -> None:
    """Not async."""


@pytest.mark.parametrize("wrong", [no_coroutine, SetsTenant, "timing", None, 3])
def test_what_is_no_middleware_is_refused_where_it_is_given(wrong: Any) -> None:
    with pytest.raises(errors.InvalidFlow, match="no coroutine function"):
        use(wrong)
    with pytest.raises(errors.InvalidFlow, match="no coroutine function"):
        step(middleware=[wrong])
    with pytest.raises(errors.InvalidFlow, match="the middleware of @step is"):
        step(middleware=inner)  # type: ignore[call-overload]
