"""Pipelines: middleware around executors of workflows; what they run is recorded.

The public names. Each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from flowq.lazy import public_names

if TYPE_CHECKING:
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
    from flowq.pipeline.executors import CeleryExecutor, ParallelExecutor, SimpleExecutor
    from flowq.pipeline.nodes import Node, NodeWorkflow
    from flowq.pipeline.pipeline import Executor, Middleware, Next, WorkflowPipeline
    from flowq.pipeline.result import ExecutionResult

__all__ = [
    "CeleryExecutor",
    "ExecutionContext",
    "ExecutionContextBuilder",
    "ExecutionResult",
    "Executor",
    "InvalidWorkflow",
    "Middleware",
    "NetworkError",
    "Next",
    "Node",
    "NodeFailed",
    "NodeWorkflow",
    "ParallelExecutor",
    "RateLimitExceeded",
    "ResourceUnavailableError",
    "RetryableError",
    "SimpleExecutor",
    "TemporaryServiceError",
    "ValidationError",
    "WorkflowPipeline",
]

__getattr__, __dir__ = public_names(
    __name__,
    {
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
