"""Publishes what happens in an execution to the event bus.

In a durable program it publishes nothing: a replay would publish again. The events of such a run
are those of `bus.follow(run)`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowq.adapters import clock
from flowq.engine.replay.execution import current
from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.events.bus import WorkflowEventBus, get_event_bus
from flowq.pipeline.events.types import EventType, WorkflowEvent
from flowq.pipeline.protocols import Next
from flowq.pipeline.result import ExecutionResult


@dataclass(frozen=True)
class MonitoringMiddleware:
    """Publishes the start, the end, and what was used.

    Attributes:
        emit_resource_events: Whether to publish which model, tools and retriever a context names.
        bus: Where; None: the bus of this process.
    """

    emit_resource_events: bool = True
    bus: WorkflowEventBus | None = None

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next
    ) -> ExecutionResult:
        """Publish around the execution."""
        if current() is not None:
            return await call_next(workflow, context)
        publish = partial(self._publish, context, str(clock.uuid()))
        began = time.monotonic()
        await publish(EventType.WORKFLOW_STARTED, {"workflow_id": context.workflow_id})
        if self.emit_resource_events:
            for kind, data in _resources(context):
                await publish(kind, data)
        await publish(EventType.EXECUTION_STARTED, {})
        try:
            result = await call_next(workflow, context)
        except BaseException as error:
            data = {"error": str(error), "error_type": type(error).__name__}
            await publish(EventType.EXECUTION_FAILED, data)
            raise
        used = _used(result)
        if used:
            await publish(EventType.TOKEN_USAGE, used)
        took = round((time.monotonic() - began) * 1000)
        await publish(EventType.EXECUTION_COMPLETED, {"execution_time_ms": took, **used})
        return result

    async def _publish(
        self, context: ExecutionContext, execution: str, kind: EventType, data: dict[str, Any]
    ) -> None:
        bus = self.bus or get_event_bus()
        event = WorkflowEvent(
            kind, execution, context.user_id, context.conversation_id, data=dict(data)
        )
        await bus.publish(event)


def _resources(context: ExecutionContext) -> list[tuple[EventType, dict[str, Any]]]:
    found: list[tuple[EventType, dict[str, Any]]] = []
    model = {name: context.named(name) for name in ("provider", "model")}
    if any(model.values()):
        found.append((EventType.LLM_LOADED, model))
    tools = context.named("tools")
    if tools:
        names = [str(getattr(one, "name", one)) for one in tools]
        found.append((EventType.TOOLS_LOADED, {"tools": names, "count": len(names)}))
    retriever = context.named("retriever") or context.named("retrievers")
    if retriever:
        found.append((EventType.RETRIEVER_LOADED, {"retriever": str(retriever)}))
    return found


def _used(result: ExecutionResult) -> dict[str, Any]:
    """Return what an execution has used; nothing for a cached result, which was paid for before."""
    metrics: Mapping[str, Any] = result.metrics
    if "tokens_used" not in metrics:
        return {}
    if result.metadata.get("cache") == "hit":
        return {"tokens_used": 0, "cost": 0.0}
    return {"tokens_used": metrics["tokens_used"], "cost": metrics.get("cost", 0.0)}
