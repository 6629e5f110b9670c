"""The events of v2 that follow from one event of the engine: about an edge, or a stream. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from flowq.blocks.reports.outline import Edge
from flowq.blocks.reports.statuses import numbered
from flowq.blocks.storage.steps import stream_of_block
from flowq.core import events
from flowq.core.errors import FlowqError
from flowq.core.events import StreamEvent

#: The types of the events of v2.
TYPES: Final = (
    "WORKFLOW_STARTED",
    "WARNING",
    "EDGE_STARTED",
    "EDGE_RETRYING",
    "EDGE_COMPLETED",
    "EDGE_ERROR",
    "EDGE_SKIPPED",
    "BLOCK_UPDATED",
    "STREAM_STARTED",
    "STREAM_CHUNK",
    "STREAM_ENDED",
    "STREAM_ERROR",
    "BATCH_COMPLETED",
    "PROGRESS_UPDATE",
    "WORKFLOW_COMPLETED",
    "WORKFLOW_ERROR",
    "WORKFLOW_CANCELLED",
    "ERROR",
)
#: An event of v2 without what all have, and the frame of v1 that belongs to it.
Report = tuple[dict[str, Any], dict[str, Any] | None]
_Stream = tuple[str, int | None, int, int]


class Streams:
    """The streams of a run: the texts of edges, and contents that are being stored.

    Args:
        edge_of: From the key of a step to its edge.
    """

    def __init__(self, edge_of: Mapping[str, Edge]) -> None:
        self._edge_of = edge_of
        self._blocks: dict[_Stream, dict[str, str]] = {}

    def take(self, event: StreamEvent) -> list[Report]:
        """Return what is reported of the next event of a stream."""
        stream = event.step, event.index, event.attempt, event.stream
        if isinstance(event, events.StreamStarted):
            block = stream_of_block(event.content_type)
            if block is not None:
                self._blocks[stream] = block
                return [fact("STREAM_STARTED", _but(block, "resource_key"))]
        elif (block := self._blocks.pop(stream, None)) is not None:
            named = _but(block, "content_type")
            error = event.error_type if isinstance(event, events.StreamEnded) else None
            if error is None:
                return [fact("STREAM_ENDED", named)]
            return [fact("STREAM_ERROR", _but(named, "resource_key") | {"error": error})]
        edge = self._edge_of.get(event.step)
        if edge is None:
            return []
        facts = event.model_dump(exclude={"run_id", "timestamp", "id", "rebuilt", "step"})
        return [fact(facts.pop("event_type"), {"edge_id": edge.id} | facts)]


def shown(cell: Mapping[str, Any]) -> Any:
    """Return a content as v1 shows it; in place of one that is stored outside, where that is."""
    if "external" not in cell:
        return cell["content"]
    return {"storage_class": "external", "external_metadata": cell["external"]}


def of_edge(edge: Edge, event: events.StepEvent) -> list[Report]:
    """Return the report of an attempt of an edge; its completion is reported with its outputs."""
    index = {} if event.index is None else {"index": event.index}
    if isinstance(event, events.StepStarted) and event.step == edge.first:
        facts = {"edge_type": edge.type, "attempt": event.attempt}
        return [about(edge, "EDGE_STARTED", **facts)]
    if isinstance(event, events.StepRetrying):
        error = {"error_type": event.error_type, "error_message": event.error_message}
        facts = index | {"attempt": event.attempt, **error, "delay": event.delay}
        return [about(edge, "EDGE_RETRYING", **facts)]
    if isinstance(event, events.StepFailed) and event.index is None:
        text = numbered(event.error_message)
        facts = {"error": text, "error_type": event.error_type, "error_message": text}
        return [about(edge, "EDGE_ERROR", **facts)]
    return []


def unreadable(error: FlowqError) -> Report:
    """Return the error that ends the frames, though not the task."""
    facts = {"error_code": "STREAM_ERROR", "error_message": error.message}
    v1 = {"error": error.message, "message": "Stream processing error", "is_complete": True}
    return {"event_type": "ERROR", "data": facts}, v1


def about(edge: Edge, kind: str, **facts: Any) -> Report:
    """Return an event about an edge."""
    return fact(kind, {"edge_id": edge.id, **facts})


def fact(kind: str, facts: Mapping[str, Any]) -> Report:
    """Return an event that readers of v1 do not get."""
    return {"event_type": kind, **facts}, None


def _but(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != name}
