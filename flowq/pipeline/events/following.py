"""The events of a run of a pipeline: made of the run's own, so each comes once per reader.

The runs of `pipeline.enqueue` execute their workflows in child runs, one for each attempt. Those
are followed in turn: the run waits for each before it goes on.
"""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Final

from flowq.client import Run
from flowq.core import events
from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId, child_run_id, node_id
from flowq.pipeline.events.types import EventType, WorkflowEvent
from flowq.pipeline.executing.program import NAME

#: The label of calls of the program of nodes in keys.
_CHILD: Final = NAME.rpartition(".")[2]
#: Steps of the program of nodes that are no nodes.
_NO_NODES: Final = {"state"}


@dataclass
class _Usage:
    tokens: int = 0
    cost: Decimal = field(default_factory=Decimal)


async def events_of(run: Run[Any], seconds: float | None) -> AsyncIterator[WorkflowEvent]:
    """Yield the events of a run.

    Args:
        run: The run.
        seconds: How long to wait for its end; None without limit.

    Raises:
        ResultTimeout: it did not end in time.
        RunNotFound: there is no such run.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    view = await run.aview()
    about = view.inputs.get("context") if isinstance(view.inputs, Mapping) else None
    conversation = about.get("conversation_id") if isinstance(about, Mapping) else None
    make = partial(
        WorkflowEvent,
        execution_id=str(run.id),
        user_id=view.user_id,
        conversation_id=conversation,
    )
    used = _Usage()
    async for event in _all(run, deadline, used):
        at = event.timestamp
        if isinstance(event, events.WorkflowStarted):
            data = {"flow_name": event.flow_name}
            yield make(EventType.WORKFLOW_STARTED, timestamp=at, data=data)
            yield make(EventType.EXECUTION_STARTED, timestamp=at)
        elif isinstance(event, events.StepCompleted):
            yield make(EventType.NODE_EXECUTED, timestamp=at, data=_of_node(event))
        elif isinstance(event, events.EndEvent):
            tokens = {"tokens_used": used.tokens, "cost": float(used.cost)}
            yield make(EventType.TOKEN_USAGE, timestamp=at, data=tokens)
            kind, data = _of_end(event)
            yield make(kind, timestamp=at, data={**tokens, **data})


async def _all(
    run: Run[Any], deadline: float | None, used: _Usage, *, inner: bool = False
) -> AsyncIterator[events.Event]:
    """Yield the start and the end of a run, and the ends of nodes in it and its child runs."""
    followed: set[str] = set()
    left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
    async for event in run.events(timeout=left):
        key = getattr(event, "step", "")
        label = key.partition("#")[0]
        if isinstance(event, events.EndEvent):
            used.tokens += event.total_tokens
            used.cost += event.total_cost
        if label == _CHILD and key != _CHILD and run.flow_name != NAME:
            if key not in followed:
                followed.add(key)
                child = Run[Any](RunId(child_run_id(node_id(run.id, key))), NAME)
                try:
                    async for one in _all(child, deadline, used, inner=True):
                        yield one
                except RunNotFound:
                    followed.discard(key)  # it has not begun, or never did
        elif isinstance(event, events.StepCompleted):
            if run.flow_name == NAME and "#" in key and label not in _NO_NODES:
                yield event
        elif not inner and isinstance(event, events.WorkflowStarted | events.EndEvent):
            yield event


def _of_node(event: events.StepCompleted) -> dict[str, Any]:
    return {
        "node": event.step.partition("#")[0],
        "run_id": str(event.run_id),
        "execution_time_ms": event.execution_time_ms,
        "tokens_used": event.tokens or 0,
        "cost": float(event.cost or 0),
    }


def _of_end(event: events.EndEvent) -> tuple[EventType, dict[str, Any]]:
    data: dict[str, Any] = {"execution_time_ms": event.execution_time_ms}
    if isinstance(event, events.WorkflowCompleted):
        return EventType.EXECUTION_COMPLETED, data
    if isinstance(event, events.WorkflowError):
        data |= {"error": event.error_message, "error_type": "RunFailed"}
    else:
        data |= {"error": event.reason, "error_type": "RunCancelled"}
    return EventType.EXECUTION_FAILED, data
