"""`@step`: registration, options of the decorator, and what cannot be a step."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from flowq.authoring.definitions.steps import Step, step
from flowq.core.errors import FlowqError, InvalidFlow
from flowq.core.retries import RetryPolicy
from flowq.engine.registry.registry import registry


class Custom(Exception):
    pass


def options_of(made: Step[Any, Any]) -> Any:
    return made._options


def test_step_is_registered_under_module_and_name() -> None:
    """Workers find it by the name that Celery would give."""

    @step
    def work(x: int) -> str:
        """Say it."""
        return str(x)

    name = f"{__name__}.test_step_is_registered_under_module_and_name.<locals>.work"
    assert name == work.type.name
    assert work.type is registry.steps[name]
    assert str is work.type.returns
    assert "Say it." == work.__doc__
    assert f"<Step {name}>" == repr(work)


def test_name_can_be_given() -> None:
    """A given name is used as it is, also for a function that has none."""
    made = step(name="shop.double")(lambda x: 2 * x)

    assert made.type is registry.steps["shop.double"]
    assert 4 == made(2)


def test_options_share_the_step_type() -> None:
    """A copy with other options is the same step."""

    @step(retries=1)
    def work() -> None: ...

    copy = work.options(retries=5)

    assert copy.type is work.type
    assert 6 == options_of(copy).retry.max_attempts
    assert 2 == options_of(work).retry.max_attempts


@pytest.mark.parametrize(
    "given, policy",
    [
        ({}, RetryPolicy()),
        ({"retries": 0}, RetryPolicy()),
        ({"retries": 2}, RetryPolicy(max_attempts=3)),
        (
            {"retries": 2, "retry_delay": 0.5, "backoff": 1},
            RetryPolicy(max_attempts=3, initial_delay=timedelta(seconds=0.5), backoff=1),
        ),
        (
            {"retry_delay": timedelta(hours=1)},
            RetryPolicy(initial_delay=timedelta(hours=1), max_delay=timedelta(hours=1)),
        ),
        ({"retry_on": ConnectionError}, RetryPolicy(retry_on=("ConnectionError",))),
        (
            {"retry_on": (OSError, Custom, "httpx.ReadTimeout")},
            RetryPolicy(retry_on=("OSError", f"{__name__}.Custom", "httpx.ReadTimeout")),
        ),
        ({"retry": RetryPolicy(max_attempts=7)}, RetryPolicy(max_attempts=7)),
    ],
)
def test_retries_are_said_briefly_or_whole(given: dict[str, Any], policy: RetryPolicy) -> None:
    """Short options make a policy; a whole one is taken as it is."""

    @step(**given)
    def work() -> None: ...

    assert policy == options_of(work).retry


def test_retries_of_a_call_keep_the_rest_of_the_policy() -> None:
    """`.options(retries=)` changes the number, not the delays."""

    @step(retries=1, retry_delay=9, retry_on=OSError)
    def work() -> None: ...

    policy = options_of(work.options(retries=4)).retry

    assert (5, timedelta(seconds=9), ("OSError",)) == (
        policy.max_attempts,
        policy.initial_delay,
        policy.retry_on,
    )


@pytest.mark.parametrize("timeout", [2, 2.0, timedelta(seconds=2)])
def test_times_are_seconds_or_timedeltas(timeout: Any) -> None:
    """Both ways mean the same."""

    @step(timeout=timeout)
    def work() -> None: ...

    assert timedelta(seconds=2) == options_of(work).timeout
    assert options_of(work.options(timeout=None)).timeout is None


@pytest.mark.parametrize(
    "given, problem",
    [
        ({"retries": -1}, "retries is out of range"),
        ({"retries": 1, "backoff": 0}, "backoff is out of range"),
        ({"retry_delay": -1}, "retry_delay is negative"),
        ({"retry_delay": 10**12}, "retry_delay is longer than 100 years"),
        ({"timeout": 10**10}, "timeout is longer than 100 years"),
        ({"retry_delay": "1s"}, "retry_delay is '1s'"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": True}, "timeout is True"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"retry_on": (3,)}, "retry_on holds 3"),
        ({"retry_on": int}, "retry_on holds <class 'int'>"),
        ({"retries": 1, "retry": RetryPolicy()}, "retry= is given beside"),
        ({"queue": ""}, "queue is ''"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], problem: str) -> None:
    """The message names the option and the line."""
    with pytest.raises(InvalidFlow, match=problem) as caught:
        step(**given)

    assert caught.match(r"test_steps.py:\d+")


@pytest.mark.parametrize("given", [{"tolerate": "many"}, {"tolerate": "101%"}, {"tolerate": -1}])
def test_tolerance_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    """A tolerance is a number or a share."""

    @step
    def work(x: int) -> None: ...

    with pytest.raises(InvalidFlow, match='tolerate="5%"'):
        work.options(**given)


def _generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    "function, problem",
    [
        (3, "is not a function"),
        (int, "is not a function"),
        (_generator, "is a generator"),
        (lambda: 1, "has no name"),
    ],
)
def test_what_cannot_be_a_step_is_refused(function: Any, problem: str) -> None:
    """The message says what to write."""
    with pytest.raises(InvalidFlow, match=problem):
        step(function)


def test_step_of_a_step_is_refused() -> None:
    """Decorating twice is a slip."""

    @step
    def work() -> None: ...

    with pytest.raises(InvalidFlow, match="once"):
        step(work)


def test_defining_again_replaces() -> None:
    """A module that is imported again defines its steps again."""

    def define() -> Step[[], int]:
        @step
        def work() -> int:
            return 1

        return work

    first, second = define(), define()

    assert first.type.name == second.type.name
    assert second.type is registry.steps[first.type.name]


def test_two_functions_of_one_name_are_refused() -> None:
    """Workers could not tell them apart."""
    step(name="shop.same")(_generator_free)

    with pytest.raises(InvalidFlow, match=r"two steps are named 'shop\.same'"):
        step(name="shop.same")(_other)


def _generator_free() -> None: ...


def _other() -> None: ...


def test_context_outside_an_attempt_is_an_error() -> None:
    """There is none, and the message says where there is."""
    with pytest.raises(FlowqError, match="outside a step"):
        step.context()
