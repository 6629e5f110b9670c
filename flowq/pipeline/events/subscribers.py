"""Subscribers of the event bus: numbers, and lines in the log.

metrics = MetricsSubscriber()
get_event_bus().subscribe(None, metrics)
metrics.get_metrics()["total_cost"]
"""

import json
import logging
from typing import Any

from flowq.pipeline.events.types import EventType, WorkflowEvent


class MetricsSubscriber:
    """Counts executions, and sums what they have used.

    Attributes:
        completed_executions: How many have completed.
        failed_executions: How many have failed.
        total_tokens: Tokens of the finished ones.
        total_cost: Their cost, in USD.
    """

    def __init__(self) -> None:
        self._running: set[str] = set()
        self.completed_executions = 0
        self.failed_executions = 0
        self.total_tokens = 0
        self.total_cost = 0.0

    @property
    def running_executions(self) -> int:
        """How many have begun and not finished."""
        return len(self._running)

    @property
    def total_executions(self) -> int:
        """How many have begun."""
        return self.running_executions + self.completed_executions + self.failed_executions

    def __call__(self, event: WorkflowEvent) -> None:
        """Count an event."""
        if event.event_type == EventType.WORKFLOW_STARTED:
            self._running.add(event.execution_id)
            return
        completed = event.event_type == EventType.EXECUTION_COMPLETED
        if not completed and event.event_type != EventType.EXECUTION_FAILED:
            return
        self._running.discard(event.execution_id)
        self.completed_executions += completed
        self.failed_executions += not completed
        self.total_tokens += event.data.get("tokens_used") or 0
        self.total_cost += event.data.get("cost") or 0.0

    def get_metrics(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return {
            "total_executions": self.total_executions,
            "running_executions": self.running_executions,
            "completed_executions": self.completed_executions,
            "failed_executions": self.failed_executions,
            "total_tokens": self.total_tokens,
            "total_cost": self.total_cost,
        }


class LoggingSubscriber:
    """Writes a line for each event.

    Args:
        level: Of the lines; a failure is an error.
        logger: Where they go.
    """

    def __init__(self, level: int = logging.INFO, logger: logging.Logger | None = None) -> None:
        self._level = level
        self._logger = logger or logging.getLogger("flowq.pipeline.events.types")

    def __call__(self, event: WorkflowEvent) -> None:
        """Write the line of an event."""
        failed = event.event_type == EventType.EXECUTION_FAILED
        self._logger.log(
            logging.ERROR if failed else self._level,
            "%s of execution %s: %s",
            event.event_type,
            event.execution_id,
            json.dumps(event.data, default=str),
            extra={"action": "event"},
        )
