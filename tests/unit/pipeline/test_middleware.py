"""What each middleware does to a call, without records."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flowq import errors
from flowq.core.errors import InvalidFlow
from flowq.pipeline import (
    CachingMiddleware,
    ExecutionContext,
    ExecutionResult,
    LoggingSubscriber,
    MemoryCache,
    MetricsSubscriber,
    MonitoringMiddleware,
    NetworkError,
    NodeFailed,
    RateLimitExceeded,
    RateLimitingMiddleware,
    RetryableError,
    RetryMiddleware,
    ValidationError,
    ValidationMiddleware,
    WorkflowEvent,
    WorkflowEventBus,
    WorkflowPipeline,
    get_event_bus,
)
from flowq.pipeline.middleware.caching import key_of
from flowq.pipeline.nodes import Node, NodeWorkflow


class Counting:
    """Executes by calling a function with the number of the call, from 1."""

    def __init__(self, work: Callable[[int], Any] = lambda number: {"number": number}) -> None:
        self.calls = 0
        self.work = work

    async def execute(self, workflow: Any, context: ExecutionContext) -> ExecutionResult:
        self.calls += 1
        made = self.work(self.calls)
        return made if isinstance(made, ExecutionResult) else ExecutionResult(made)


def context(**fields: Any) -> ExecutionContext:
    given = {"initial_state": {"messages": [{"role": "user", "content": "hi"}]}, **fields}
    return ExecutionContext("chat", given.pop("user_id", "ann"), **given)


def execute(executor: Any, *middleware: Any, given: ExecutionContext | None = None) -> Any:
    pipeline = WorkflowPipeline(executor)
    for one in middleware:
        pipeline.use(one)
    return asyncio.run(pipeline.execute(object(), given or context()))


# --- monitoring ----------------------------------------------------------------------------------


def _heard() -> tuple[WorkflowEventBus, list[WorkflowEvent]]:
    events: list[WorkflowEvent] = []
    bus = WorkflowEventBus()
    bus.subscribe(None, events.append)
    return bus, events


def test_events_come_in_order_with_what_the_context_names() -> None:
    bus, events = _heard()
    used = {"tokens_used": 12, "cost": 0.5}
    executor = Counting(lambda _: ExecutionResult({"a": 1}, metrics=dict(used)))
    given = context(
        conversation_id="c1",
        metadata={"provider": "openai", "model": "m", "tools": ["search"], "retriever": "docs"},
    )

    execute(executor, MonitoringMiddleware(bus=bus), given=given)

    assert [
        "workflow_started",
        "llm_loaded",
        "tools_loaded",
        "retriever_loaded",
        "execution_started",
        "token_usage",
        "execution_completed",
    ] == [one.event_type for one in events]
    assert {"provider": "openai", "model": "m"} == events[1].data
    assert {"tools": ["search"], "count": 1} == events[2].data
    assert used == events[5].data
    assert used == {name: events[6].data[name] for name in used}
    assert {"execution_time_ms", *used} == set(events[6].data)
    assert 1 == len({one.execution_id for one in events})
    assert {("ann", "c1")} == {(one.user_id, one.conversation_id) for one in events}


@pytest.mark.parametrize("named", ["m", None])
def test_resources_are_told_only_when_they_are_there_and_wanted(named: str | None) -> None:
    bus, events = _heard()
    given = context(metadata={"model": named})

    execute(
        Counting(), MonitoringMiddleware(emit_resource_events=named is None, bus=bus), given=given
    )

    assert ["workflow_started", "execution_started", "execution_completed"] == [
        one.event_type for one in events
    ]


def test_a_failure_is_published_and_raised() -> None:
    bus, events = _heard()

    with pytest.raises(ZeroDivisionError):
        execute(Counting(lambda _: {"x": 1 / 0}), MonitoringMiddleware(bus=bus))

    assert "execution_failed" == events[-1].event_type
    assert {"error": "division by zero", "error_type": "ZeroDivisionError"} == events[-1].data


def test_a_handler_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bus, events = WorkflowEventBus(), []

    async def late(event: WorkflowEvent) -> None:
        await asyncio.sleep(0)
        events.append(event.event_type)

    def broken(event: WorkflowEvent) -> None:
        raise ValueError("no")

    bus.subscribe("execution_started", broken)
    bus.subscribe("execution_started", late)
    bus.subscribe(None, late)
    bus.unsubscribe(None, late)
    bus.unsubscribe("no such", late)

    execute(Counting(), MonitoringMiddleware(bus=bus))

    assert ["execution_started"] == events
    # Tasks of other tests may be collected meanwhile.
    assert 1 == len([one for one in caplog.records if one.name.startswith("flowq.")])


def test_the_bus_of_the_process_is_one() -> None:
    assert get_event_bus() is get_event_bus()


def test_metrics_and_lines(caplog: pytest.LogCaptureFixture) -> None:
    bus, metrics = WorkflowEventBus(), MetricsSubscriber()
    bus.subscribe(None, metrics)
    bus.subscribe(None, LoggingSubscriber())
    monitored = MonitoringMiddleware(bus=bus)
    running: list[int] = []

    def work(number: int) -> ExecutionResult:
        running.append(metrics.running_executions)
        if number == 2:
            raise ValueError("no")
        return ExecutionResult({"a": 1}, metrics={"tokens_used": 5, "cost": 0.25})

    executor = Counting(work)
    with caplog.at_level(logging.INFO, "flowq.pipeline.events.types"):
        execute(executor, monitored)
        with pytest.raises(ValueError, match="no"):
            execute(executor, monitored)
        execute(executor, monitored)

    assert [1, 1, 1] == running
    assert {
        "total_executions": 3,
        "running_executions": 0,
        "completed_executions": 2,
        "failed_executions": 1,
        "total_tokens": 10,
        "total_cost": 0.5,
    } == metrics.get_metrics()
    lines = [one for one in caplog.records if one.name == "flowq.pipeline.events.types"]
    assert 11 == len(lines)
    assert 1 == sum(one.levelno == logging.ERROR for one in lines)


# --- caching -------------------------------------------------------------------------------------


def test_an_equal_execution_is_a_hit() -> None:
    executor, cached = Counting(), CachingMiddleware(MemoryCache())

    first, second = execute(executor, cached), execute(executor, cached)

    assert ({}, {"cache": "hit"}) == (first.metadata, second.metadata)
    assert (1, first.output) == (executor.calls, second.output)


def test_it_expires_and_can_be_switched_off() -> None:
    executor, memory = Counting(), MemoryCache()
    for ttl in (1e-9, 3600):
        execute(executor, CachingMiddleware(memory, ttl_seconds=ttl))
    execute(executor, CachingMiddleware(memory, enabled=False))
    assert 3 == executor.calls


def test_failures_and_what_is_no_json_or_large_are_not_kept() -> None:
    results = [
        ExecutionResult({}, errors=["no"]),
        ExecutionResult({"a": object()}),
        ExecutionResult({"a": float("nan")}),
        ExecutionResult({"a": "x" * 1_048_577}),
        ExecutionResult({"a": 1}),
    ]
    executor = Counting(lambda number: results[number - 1])
    cached = CachingMiddleware(MemoryCache())
    for _ in range(7):
        last = execute(executor, cached)
    assert (5, {"a": 1}) == (executor.calls, last.output)


def test_the_oldest_are_dropped_and_a_foreign_value_is_none() -> None:
    async def play() -> None:
        cache = MemoryCache(most=2)
        for name in "ab":
            await cache.set(name, {"is": name}, 60)
        assert await cache.get("a") == {"is": "a"}
        await cache.set("c", {"is": "c"}, 60)
        assert [await cache.get(name) is not None for name in "abc"] == [True, False, True]
        await cache.delete("a")
        await cache.delete("no such")
        assert await cache.get("a") is None
        await cache.clear()
        assert await cache.get("c") is None

    asyncio.run(play())


def _nothing(state: Any) -> None:
    """Do nothing."""


CHANGES: dict[str, Any] = {
    "workflow": ExecutionContext("other", "ann"),
    "user": ExecutionContext("chat", "bob"),
    "state": ExecutionContext("chat", "ann", initial_state={"messages": ["x"]}),
    "variables": ExecutionContext("chat", "ann", variables={"a": 1}),
    "provider": ExecutionContext("chat", "ann", metadata={"provider": "a"}),
    "model": ExecutionContext("chat", "ann", metadata={"model": "a"}),
    "temperature": ExecutionContext("chat", "ann", metadata={"temperature": 1}),
}


def test_the_key_changes_with_each_part_and_nothing_else() -> None:
    work = NodeWorkflow("w", [Node("a", _nothing)])
    base = ExecutionContext("chat", "ann")
    keys = {name: key_of(work, one) for name, one in CHANGES.items()}
    keys["base"] = key_of(work, base)
    keys["nodes"] = key_of(NodeWorkflow("w", [Node("b", _nothing)]), base)
    keys["type"] = key_of(object(), base)

    assert len(keys) == len(set(keys.values()))
    same = ExecutionContext("chat", "ann", "c1", metadata={"tools": ["x"]})
    assert keys["base"] == key_of(work, same)
    one = ExecutionContext("chat", "ann", initial_state={"a": 1, "b": object})
    other = ExecutionContext("chat", "ann", initial_state={"b": object, "a": 1})
    assert key_of(work, one) == key_of(work, other)


# --- retry ---------------------------------------------------------------------------------------


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("flowq.pipeline.middleware.retry.asyncio.sleep", sleep)
    return found


def failing(*errors: BaseException) -> Counting:
    """Fail with each error in turn, then complete."""
    left = list(errors)

    def work(number: int) -> Any:
        if left:
            raise left.pop(0)
        return {"number": number}

    return Counting(work)


def test_pauses_double_and_attempts_are_counted(slept: list[float]) -> None:
    result = execute(failing(*[ValueError("no")] * 3), RetryMiddleware(max_retries=3))

    assert ([1.0, 2.0, 4.0], {"attempts": 4}) == (slept, result.metadata)


def test_the_last_error_is_raised(slept: list[float]) -> None:
    executor = failing(*[ValueError(str(number)) for number in range(9)])

    with pytest.raises(ValueError, match="2"):
        execute(executor, RetryMiddleware(max_retries=2, initial_backoff_seconds=0.5))

    assert ([0.5, 1.0], 3) == (slept, executor.calls)


@pytest.mark.parametrize(
    "error",
    [
        ValidationError("no"),
        RateLimitExceeded("no"),
        errors.BudgetExceeded("no"),
        errors.RunCancelled("no"),
        NodeFailed("n", "BudgetExceeded", "no", None),
        asyncio.CancelledError(),
    ],
)
def test_what_is_final_is_never_repeated(error: BaseException, slept: list[float]) -> None:
    executor = failing(error)

    with pytest.raises(type(error)):
        execute(executor, RetryMiddleware())

    assert (1, []) == (executor.calls, slept)


@pytest.mark.parametrize(
    "error, calls",
    [
        (ConnectionResetError("no"), 2),
        (NetworkError("no"), 2),
        (NodeFailed("n", "ConnectionResetError", "no", None), 2),
        (NodeFailed("n", "NetworkError", "no", None), 2),
        (NodeFailed("n", "ValueError", "no", None), 1),
        (ValueError("no"), 1),
    ],
)
def test_only_some_may_be_repeated(error: Exception, calls: int, slept: list[float]) -> None:
    """An error on a worker is known by the name of its class, or of a subclass."""
    executor = failing(error)
    chosen = RetryMiddleware(retryable_exceptions=(RetryableError, OSError))

    if calls == 2:
        execute(executor, chosen)
    else:
        with pytest.raises(type(error)):
            execute(executor, chosen)

    assert calls == executor.calls


def test_a_provider_may_ask_for_a_longer_pause(slept: list[float]) -> None:
    busy = errors.ModelUnavailable("429", retry_after=timedelta(seconds=7))

    execute(failing(busy, busy), RetryMiddleware(initial_backoff_seconds=5))

    assert [7.0, 10.0] == slept


def test_a_pause_is_a_day_at_most(slept: list[float]) -> None:
    many = RetryMiddleware(max_retries=3, backoff_multiplier=1e300)
    execute(failing(*[ValueError("no")] * 3), many)

    assert [1.0, 86_400.0, 86_400.0] == slept


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": -1},
        {"max_retries": True},
        {"max_retries": 1.5},
        {"initial_backoff_seconds": -1},
        {"initial_backoff_seconds": float("nan")},
        {"backoff_multiplier": "2"},
        {"retryable_exceptions": ("ValueError",)},
        {"retryable_exceptions": KeyboardInterrupt},
    ],
)
def test_wrong_options_of_a_retry_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidFlow, match=next(iter(options))):
        RetryMiddleware(**options)


# --- validation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, message",
    [
        (context(user_id=""), "user_id is required"),
        (context(initial_state={}), "initial_state is required"),
        (context(initial_state={"messages": "hi"}), "messages must be a list"),
        (context(user_id="", initial_state={}), "user_id is required, initial_state is required"),
    ],
)
def test_a_wrong_context_is_refused(given: ExecutionContext, message: str) -> None:
    executor = Counting()

    with pytest.raises(ValidationError, match=f"^Context validation failed: {message}$"):
        execute(executor, ValidationMiddleware(), given=given)

    assert 0 == executor.calls
    assert execute(executor, ValidationMiddleware(validate_input=False), given=given)


def test_warnings_are_told_and_errors_where_it_is_strict() -> None:
    given = context(initial_state={"x": 1}, metadata={"model": "m"})

    result = execute(Counting(), ValidationMiddleware(), given=given)
    assert {"warnings": ["there are no messages", "no provider is named"]} == result.metadata

    message = "^Context validation failed: there are no messages, no provider is named$"
    with pytest.raises(ValidationError, match=message):
        execute(Counting(), ValidationMiddleware(strict_mode=True), given=given)


def test_a_wrong_result_is_refused() -> None:
    executor = Counting(lambda _: ExecutionResult("text"))  # type: ignore[arg-type]

    message = "^Result validation failed: output must be a mapping$"
    with pytest.raises(ValidationError, match=message):
        execute(executor, ValidationMiddleware())
    assert "text" == execute(executor, ValidationMiddleware(validate_output=False)).output


# --- rate limiting -------------------------------------------------------------------------------


def test_the_61st_of_a_user_is_refused() -> None:
    executor, limited = Counting(), RateLimitingMiddleware(backend="memory")
    for _ in range(60):
        execute(executor, limited)

    message = r"^Rate limit exceeded: 60 requests per 60 seconds\n"
    with pytest.raises(RateLimitExceeded, match=message) as refused:
        execute(executor, limited)

    assert refused.value.retry_after is not None
    assert timedelta(0) < refused.value.retry_after <= timedelta(seconds=60)
    assert (60, 0, 60) == (
        executor.calls,
        limited.get_remaining_requests("ann"),
        limited.get_remaining_requests("bob"),
    )
    execute(executor, limited, given=context(user_id="bob"))
    limited.reset_user("ann")
    assert (60, 59) == tuple(map(limited.get_remaining_requests, ("ann", "bob")))
    limited.reset_all()
    assert 60 == limited.get_remaining_requests("bob")


def test_all_users_together() -> None:
    limited = RateLimitingMiddleware(max_requests=1, per_user=False, backend="memory")
    execute(Counting(), limited)

    with pytest.raises(RateLimitExceeded):
        execute(Counting(), limited, given=context(user_id="bob"))


def test_a_hit_of_the_cache_is_not_counted() -> None:
    chain = (
        CachingMiddleware(MemoryCache()),
        RateLimitingMiddleware(max_requests=1, backend="memory"),
    )
    executor = Counting()
    assert {"cache": "hit"} == [execute(executor, *chain) for _ in range(3)][-1].metadata


@pytest.mark.parametrize(
    "options",
    [
        {"max_requests": 0},
        {"max_requests": True},
        {"max_requests": 2.5},
        {"window_seconds": 0},
        {"window_seconds": "60"},
        {"window_seconds": float("nan")},
        {"backend": "disk"},
    ],
)
def test_wrong_options_of_a_limit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidFlow, match=next(iter(options))):
        RateLimitingMiddleware(**options)


@pytest.mark.parametrize("ttl", [0, -1, True, "60", float("nan")])
def test_wrong_options_of_a_cache_are_refused(ttl: Any) -> None:
    with pytest.raises(InvalidFlow, match="ttl_seconds"):
        CachingMiddleware(ttl_seconds=ttl)
