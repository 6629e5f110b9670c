"""What takes part in `pipeline.enqueue` is written as JSON and made again."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from flowq.pipeline import (
    CachingMiddleware,
    CeleryExecutor,
    ExecutionContext,
    ExecutionResult,
    MemoryCache,
    MonitoringMiddleware,
    NetworkError,
    Next,
    NotExecutable,
    ParallelExecutor,
    RateLimitingMiddleware,
    RedisCache,
    RetryMiddleware,
    SimpleExecutor,
    ValidationMiddleware,
    WorkflowEventBus,
)
from flowq.pipeline.specs import object_of, spec_of


@dataclass(frozen=True)
class Own:
    inner: Any
    names: tuple[str, ...] = ()


class Written:
    def __init__(self, size: int) -> None:
        self.size = size

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written) and other.size == self.size

    __hash__ = None  # type: ignore[assignment]


async def function(workflow: Any, context: ExecutionContext, call: Next) -> ExecutionResult:
    return await call(workflow, context)


@pytest.mark.parametrize(
    "value",
    [
        MonitoringMiddleware(emit_resource_events=False),
        CachingMiddleware(ttl_seconds=7),
        CachingMiddleware(RedisCache("mine")),
        RetryMiddleware(max_retries=1, retryable_exceptions=(ValueError, NetworkError)),
        ValidationMiddleware(strict_mode=True),
        RateLimitingMiddleware(3, 7.5, per_user=False),
        SimpleExecutor(),
        ParallelExecutor(max_concurrent=5, where="workers"),
        CeleryExecutor(),
        Own({"a": [1, None, 2.5, True, "x"], "b": Written(3)}),
        Written(7),
        function,
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_comes_back_equal(value: Any) -> None:
    spec = json.loads(json.dumps(spec_of(value, "it")))
    assert value == object_of(spec)


def test_what_a_worker_could_not_make_is_refused() -> None:
    @dataclass
    class Local:
        a: int = 1

    for value in (Local(), object(), lambda: None, Own(object()), CachingMiddleware(MemoryCache())):
        with pytest.raises(NotExecutable, match="cannot be made again on a worker"):
            spec_of(value, "the middleware")
    with pytest.raises(NotExecutable):
        spec_of(MonitoringMiddleware(bus=WorkflowEventBus()), "the middleware")


def test_a_name_that_is_unknown_here_is_named() -> None:
    with pytest.raises(NotExecutable, match=r"'no.such:Thing' cannot be imported here"):
        object_of({"$made": "no.such:Thing", "arguments": {}})


@pytest.mark.parametrize(
    "spec",
    [
        {"$made": "subprocess:Popen", "arguments": {"args": ["true"]}},
        {"$made": "tests.unit.pipeline.test_specs:function", "arguments": {}},
        {"$made": "tests.unit.pipeline.test_specs:test_it_comes_back_equal", "arguments": {}},
        {"$name": "os:system"},
        {"$name": "builtins:exec"},
    ],
    ids=lambda spec: next(iter(spec.values())),
)
def test_what_enqueue_would_not_write_is_not_made(spec: Any) -> None:
    with pytest.raises(NotExecutable):
        object_of(spec)
