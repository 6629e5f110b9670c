"""Pipelines: middleware around executors of workflows; what they run is recorded.

The public names. Each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from flowq.lazy import public_names

if TYPE_CHECKING:
    from flowq.pipeline.context import ExecutionContext, ExecutionContextBuilder
    from flowq.pipeline.errors import (
        NetworkError,
        NodeFailed,
        NotExecutable,
        RateLimitExceeded,
        ResourceUnavailableError,
        RetryableError,
        TemporaryServiceError,
        ValidationError,
    )
    from flowq.pipeline.events.bus import WorkflowEventBus, get_event_bus
    from flowq.pipeline.events.subscribers import LoggingSubscriber, MetricsSubscriber
    from flowq.pipeline.events.types import EventType, WorkflowEvent
    from flowq.pipeline.executing.executors import CeleryExecutor, ParallelExecutor, SimpleExecutor
    from flowq.pipeline.executing.graphs import LangGraphExecutor
    from flowq.pipeline.factory import (
        ExecutorFactory,
        ExecutorType,
        create_executor,
        create_executor_for_workflow,
        get_executor_factory,
    )
    from flowq.pipeline.middleware.caches import CacheBackend, MemoryCache, RedisCache
    from flowq.pipeline.middleware.caching import CachingMiddleware
    from flowq.pipeline.middleware.monitoring import MonitoringMiddleware
    from flowq.pipeline.middleware.rate_limiting import RateLimitingMiddleware
    from flowq.pipeline.middleware.retry import RetryMiddleware
    from flowq.pipeline.middleware.validation import ValidationMiddleware
    from flowq.pipeline.nodes import Node, NodeWorkflow
    from flowq.pipeline.pipeline import WorkflowPipeline
    from flowq.pipeline.protocols import Executor, Middleware, Next
    from flowq.pipeline.result import ExecutionResult

__all__ = [
    "CacheBackend",
    "CachingMiddleware",
    "CeleryExecutor",
    "EventType",
    "ExecutionContext",
    "ExecutionContextBuilder",
    "ExecutionResult",
    "Executor",
    "ExecutorFactory",
    "ExecutorType",
    "LangGraphExecutor",
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
    "NotExecutable",
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
    "create_executor",
    "create_executor_for_workflow",
    "get_event_bus",
    "get_executor_factory",
]

__getattr__, __dir__ = public_names(
    __name__,
    {
        "flowq.pipeline.events.bus": "WorkflowEventBus get_event_bus",
        "flowq.pipeline.middleware.caches": "CacheBackend MemoryCache RedisCache",
        "flowq.pipeline.events.types": "EventType WorkflowEvent",
        "flowq.pipeline.middleware.caching": "CachingMiddleware",
        "flowq.pipeline.middleware.monitoring": "MonitoringMiddleware",
        "flowq.pipeline.middleware.rate_limiting": "RateLimitingMiddleware",
        "flowq.pipeline.middleware.retry": "RetryMiddleware",
        "flowq.pipeline.middleware.validation": "ValidationMiddleware",
        "flowq.pipeline.events.subscribers": "LoggingSubscriber MetricsSubscriber",
        "flowq.pipeline.context": "ExecutionContext ExecutionContextBuilder",
        "flowq.pipeline.errors": """
            NotExecutable NetworkError NodeFailed RateLimitExceeded ResourceUnavailableError
            RetryableError TemporaryServiceError ValidationError""",
        "flowq.pipeline.executing.executors": "CeleryExecutor ParallelExecutor SimpleExecutor",
        "flowq.pipeline.executing.graphs": "LangGraphExecutor",
        "flowq.pipeline.factory": """
            ExecutorFactory ExecutorType create_executor create_executor_for_workflow
            get_executor_factory""",
        "flowq.pipeline.nodes": "Node NodeWorkflow",
        "flowq.pipeline.pipeline": "WorkflowPipeline",
        "flowq.pipeline.protocols": "Executor Middleware Next",
        "flowq.pipeline.result": "ExecutionResult",
    },
)
