"""Pipelines: middleware around executors of workflows; what they run is recorded.

The public names. Each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from flowq.lazy import public_names

if TYPE_CHECKING:
    from flowq.pipeline.bus import WorkflowEventBus, get_event_bus
    from flowq.pipeline.caches import CacheBackend, MemoryCache, RedisCache
    from flowq.pipeline.context import ExecutionContext, ExecutionContextBuilder
    from flowq.pipeline.errors import (
        InvalidWorkflow,
        NetworkError,
        NodeFailed,
        RateLimitExceeded,
        ResourceUnavailableError,
        RetryableError,
        TemporaryServiceError,
        ValidationError,
    )
    from flowq.pipeline.events import EventType, WorkflowEvent
    from flowq.pipeline.executors import CeleryExecutor, ParallelExecutor, SimpleExecutor
    from flowq.pipeline.middleware.caching import CachingMiddleware
    from flowq.pipeline.middleware.monitoring import MonitoringMiddleware
    from flowq.pipeline.middleware.rate_limiting import RateLimitingMiddleware
    from flowq.pipeline.middleware.retry import RetryMiddleware
    from flowq.pipeline.middleware.validation import ValidationMiddleware
    from flowq.pipeline.nodes import Node, NodeWorkflow
    from flowq.pipeline.pipeline import Executor, Middleware, Next, WorkflowPipeline
    from flowq.pipeline.result import ExecutionResult
    from flowq.pipeline.subscribers import LoggingSubscriber, MetricsSubscriber

__all__ = [
    "CacheBackend",
    "CachingMiddleware",
    "CeleryExecutor",
    "EventType",
    "ExecutionContext",
    "ExecutionContextBuilder",
    "ExecutionResult",
    "Executor",
    "InvalidWorkflow",
    "LoggingSubscriber",
    "MemoryCache",
    "MetricsSubscriber",
    "Middleware",
    "MonitoringMiddleware",
    "NetworkError",
    "Next",
    "Node",
    "NodeFailed",
    "NodeWorkflow",
    "ParallelExecutor",
    "RateLimitExceeded",
    "RateLimitingMiddleware",
    "RedisCache",
    "ResourceUnavailableError",
    "RetryMiddleware",
    "RetryableError",
    "SimpleExecutor",
    "TemporaryServiceError",
    "ValidationError",
    "ValidationMiddleware",
    "WorkflowEvent",
    "WorkflowEventBus",
    "WorkflowPipeline",
    "get_event_bus",
]

__getattr__, __dir__ = public_names(
    __name__,
    {
        "flowq.pipeline.bus": "WorkflowEventBus get_event_bus",
        "flowq.pipeline.caches": "CacheBackend MemoryCache RedisCache",
        "flowq.pipeline.events": "EventType WorkflowEvent",
        "flowq.pipeline.middleware.caching": "CachingMiddleware",
        "flowq.pipeline.middleware.monitoring": "MonitoringMiddleware",
        "flowq.pipeline.middleware.rate_limiting": "RateLimitingMiddleware",
        "flowq.pipeline.middleware.retry": "RetryMiddleware",
        "flowq.pipeline.middleware.validation": "ValidationMiddleware",
        "flowq.pipeline.subscribers": "LoggingSubscriber MetricsSubscriber",
        "flowq.pipeline.context": "ExecutionContext ExecutionContextBuilder",
        "flowq.pipeline.errors": """
            InvalidWorkflow NetworkError NodeFailed RateLimitExceeded ResourceUnavailableError
            RetryableError TemporaryServiceError ValidationError""",
        "flowq.pipeline.executors": "CeleryExecutor ParallelExecutor SimpleExecutor",
        "flowq.pipeline.nodes": "Node NodeWorkflow",
        "flowq.pipeline.pipeline": "Executor Middleware Next WorkflowPipeline",
        "flowq.pipeline.result": "ExecutionResult",
    },
)
