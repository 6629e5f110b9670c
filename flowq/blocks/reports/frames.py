"""From the events of a run to what clients of a document see: events (v2), and frames (v1). Pure.

    translator = Translator(outline, …)
    for event in follow(…):
        for frame in translator.take(event): …

Most events become a frame or two at once: what an edge does, and the new content of a block. A
level is reported when all its edges have ended and the level before it was reported:
BATCH_COMPLETED, with it the data frame of v1, and PROGRESS_UPDATE. So the frames of v1 depend on
what has happened, not on the order in which it happened. Progress is counted by levels, too.

A result that is missing in the store ends the frames with an error.

The id of a frame is that of its engine event; of several frames the later ones end with `+1`, `+2`.
Ids are the same for every reader of one stream, so a reader that reconnects names the last one that
it has received (`flowq.client.event_log`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowq.blocks.reports.events import Report, Streams, about, fact, of_edge, shown, unreadable
from flowq.blocks.reports.outline import Edge, Level, Outline
from flowq.blocks.reports.statuses import cancelled, plain_error, task_status
from flowq.core import events
from flowq.core.errors import ResultCorrupt, ResultMissing
from flowq.core.events import Event
from flowq.core.ids import RunId

#: From the key of a step to what it has returned: `outputs` and `set`.
Load = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Frame:
    """One event for clients.

    Attributes:
        id: Where a reader of v2 continues.
        v2: The event.
        v1: The frame that readers of v1 get in its place; None: they get nothing.
    """

    id: str
    v2: dict[str, Any]
    v1: dict[str, Any] | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.v1 is not None and self.v1["is_complete"]


class Translator:
    """The frames of one run.

    Args:
        outline: The document.
        run_id: The run.
        user_id: Whose run it is.
        threshold_bytes: The largest content that stays inside a block.
        load: Loads what a step has returned; called once for each that completes.
        with_blocks: Whether frames of v1 hold whole blocks beside the contents.
    """

    def __init__(
        self,
        outline: Outline,
        run_id: RunId,
        user_id: str,
        threshold_bytes: int,
        load: Load,
        *,
        with_blocks: bool = False,
    ) -> None:
        self._outline = outline
        self._task = str(run_id)
        self._user_id = user_id
        self._threshold = threshold_bytes
        self._load = load
        self._with_blocks = with_blocks
        self._edge_of = {key: edge for edge in outline.edges.values() for key in edge.keys}
        #: From the key of each step that ends something to its level, and the blocks it reports.
        self._reports = {
            key: (number, blocks)
            for number, level in enumerate(outline.levels)
            for key, blocks in level.steps.items()
        }
        self._open = [len(level.steps) for level in outline.levels]  #: Steps that have not ended.
        self._ended: set[str] = set()
        self._contents: dict[str, Any] = {}  #: By block; kept until its level is reported.
        #: How many levels are reported, with how many edges and blocks.
        self._levels, self._edges, self._blocks = 0, 0, outline.sources
        self._yields = 0  #: How many data frames.
        self._streams = Streams(self._edge_of)
        self._began: datetime | None = None
        self._place = "", 0
        self._failed = False

    def take(self, event: Event) -> list[Frame]:
        """Return what there is to report after the next event, in order.

        Raises:
            StoreUnavailable: a result cannot be read now. Likewise the others of `load`.
        """
        if self._failed:
            return []
        try:
            reported = self._of(event)
        except (ResultMissing, ResultCorrupt) as error:
            self._failed = True
            return [self._frame(event, *unreadable(error))]
        while self._levels < len(self._open) and not self._open[self._levels]:
            reported += self._level(self._outline.levels[self._levels])
        if isinstance(event, events.EndEvent):
            reported.append(self._end(event))
        return [self._frame(event, *one) for one in reported]

    def _frame(self, event: Event, facts: dict[str, Any], v1: dict[str, Any] | None) -> Frame:
        known, count = self._place
        self._place = event.id, count + 1 if event.id == known else 0
        frame_id = f"{event.id}+{self._place[1]}" if self._place[1] else event.id
        kind = {"event_type": facts.pop("event_type"), "task_id": self._task}
        return Frame(frame_id, kind | {"timestamp": event.timestamp.isoformat()} | facts, v1)

    # --- at once ---------------------------------------------------------------------------------

    def _of(self, event: Event) -> list[Report]:
        if isinstance(event, events.WorkflowStarted):
            warnings = [fact("WARNING", {"message": text}) for text in self._outline.warnings]
            return [self._start(event), *warnings]
        if isinstance(event, events.StreamStarted | events.StreamChunk | events.StreamEnded):
            return self._streams.take(event)
        if isinstance(event, events.StepEvent):
            edge = self._edge_of.get(event.step)
            reported = [] if edge is None else of_edge(edge, event)
            if isinstance(event, events.StepCompleted | events.StepSkipped) and event.index is None:
                reported += self._step_ended(event, edge)
            return reported
        return []

    def _start(self, event: events.WorkflowStarted) -> Report:
        self._began = event.timestamp
        facts = {
            "event_type": "WORKFLOW_STARTED",
            "env_id": self._task,
            "total_blocks": len(self._outline.blocks),
            "total_edges": len(self._outline.edges),
            "storage_threshold_bytes": self._threshold,
        }
        return facts, None

    def _step_ended(
        self, event: events.StepCompleted | events.StepSkipped, edge: Edge | None
    ) -> list[Report]:
        key = event.step
        if key not in self._reports or key in self._ended:
            return []
        level, blocks = self._reports[key]
        self._ended.add(key)
        self._open[level] -= 1
        if isinstance(event, events.StepSkipped):
            return [] if edge is None else [about(edge, "EDGE_SKIPPED")]
        returned = self._load(key)
        written = list(returned["set"])
        reported = [] if edge is None else [about(edge, "EDGE_COMPLETED", output_blocks=written)]
        for block in blocks:
            if block in written:
                cell = returned["outputs"][block]
                self._contents[block] = shown(cell)
                reported.append((self._block(block, cell), None))
        return reported

    def _block(self, block: str, cell: Mapping[str, Any]) -> dict[str, Any]:
        known: dict[str, Any] = {"event_type": "BLOCK_UPDATED", "block_id": block}
        if "external" in cell:
            return {**known, **shown(cell)}
        kind = self._outline.blocks[block].get("type", "text")
        return known | {"storage_class": "internal", "type": kind, "content": cell["content"]}

    # --- by level --------------------------------------------------------------------------------

    def _level(self, level: Level) -> list[Report]:
        self._levels += 1
        self._edges += len(level.edges)
        self._blocks += sum(map(len, level.steps.values()))
        blocks = [block for reports in level.steps.values() for block in reports]
        data = {block: self._contents.pop(block) for block in blocks if block in self._contents}
        edges = list(level.edges)
        done = {"event_type": "BATCH_COMPLETED", "edge_ids": edges, "output_blocks": list(data)}
        progress = {"env_id": self._task, "progress": self._progress()}
        return [(done, self._data(data)), fact("PROGRESS_UPDATE", progress)]

    def _data(self, data: dict[str, Any]) -> dict[str, Any] | None:
        if not data:
            return None  # all its edges were skipped, or have chosen no block
        self._yields += 1
        inner: dict[str, Any] = {"data": data, "is_complete": False, "yield_count": len(data)}
        if self._with_blocks:
            inner = {block: self._whole(block, content) for block, content in data.items()} | inner
        return {"data": inner, "is_complete": False, "yield_count": self._yields}

    def _whole(self, block: str, content: Any) -> dict[str, Any]:
        known = self._outline.blocks[block]
        return {
            "label": known.get("label", block),
            "type": known.get("type", "text"),
            "data": {"content": content},
        }

    def _progress(self) -> dict[str, Any]:
        total, blocks = len(self._outline.edges), len(self._outline.blocks)
        completed, processed = self._edges, self._blocks
        return {
            "edges": {
                "total": total,
                "completed": completed,
                "processing": 0,
                "pending": total - completed,
            },
            "blocks": {"total": blocks, "processed": processed, "pending": blocks - processed},
            "completion_percentage": round(100 * completed / total, 2) if total else 0,
        }

    # --- the end ---------------------------------------------------------------------------------

    def _end(self, event: events.EndEvent) -> Report:
        facts: dict[str, Any] = {"event_type": event.event_type, "env_id": self._task}
        began = self._began or event.timestamp
        if isinstance(event, events.WorkflowCompleted):
            facts |= {
                "duration": round((event.timestamp - began).total_seconds(), 3),
                "total_blocks_processed": self._outline.processed(self._ended),
                "total_edges_completed": len(self._outline.edges),
            }
            return facts, self._last(event, began)
        if isinstance(event, events.WorkflowError):
            error = plain_error(event.error_message)
            facts |= {"error": error, "error_message": error}
        else:
            facts["reason"] = event.reason
            error = cancelled(event.reason)
        return facts, {"error": error, "message": "Task execution failed", "is_complete": True}

    def _last(self, event: events.WorkflowCompleted, began: datetime) -> dict[str, Any]:
        status = task_status(
            self._outline,
            self._task,
            "COMPLETED",
            times=(began, event.timestamp),
            error=None,
            ended=self._ended,
        )
        return {
            "is_complete": True,
            "user_id": self._user_id,
            "total_yields": self._yields,
            "task_status": status,
        }
