"""What a reader makes of the events of a run: each once, and those that need counting.

Events come from many processes and two sources, the run's stream and its rows, so one may come
twice, and a few come late. The feed lets each through once, by what it says: a step begins an
attempt once, is put off once in an attempt, and ends once. From those it works out when a batch has
completed and how far the run is; that would cost the database a count for each step.

Attempts are told in the order in which they come: one of a step that was passed on to another
worker may come a moment after what that one says. Compare `attempt`, or `timestamp`.
"""

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from flowq.core.events import (
    BatchCompleted,
    BatchStarted,
    Event,
    ProgressUpdate,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StreamChunk,
    StreamEnded,
    StreamEvent,
    StreamStarted,
)
from flowq.core.ids import BatchId, RunId

_ENDED = (StepCompleted, StepFailed, StepSkipped)
#: In the set of what is known of a step: its end; and of each attempt, its begin and its failure.
_END, _BEGIN, _DEFERRED = 0, 1, 2


@dataclass(slots=True)
class _BatchProgress:
    started: BatchStarted
    open: int
    failed: int = 0


class Feed:
    """The events of one run, as one reader gets them.

    Args:
        run_id: The run.
        nodes: Keys of the steps that its flow has; a program calls more.

    Attributes:
        done: How many step runs have ended, but for cancelled ones.
        total: How many there are, as far as is known.
    """

    def __init__(self, run_id: RunId, nodes: AbstractSet[str]) -> None:
        self.done = 0
        self.total = len(nodes)
        self._nodes = nodes
        self._run_id = run_id
        self._reported = 0
        self._known: dict[tuple[str, int | None], set[int]] = {}
        self._batches: dict[BatchId, _BatchProgress] = {}
        #: From a step, or from a map's items, to the batch they are in.
        self._batch_of: dict[tuple[str, bool], BatchId] = {}
        #: How far each text has come.
        self._texts: dict[tuple[str, int | None, int, int], float] = {}
        #: What has ended before its batch was known.
        self._early: dict[tuple[str, bool], list[bool]] = {}

    def take(self, event: Event) -> list[Event]:
        """Return what there is to tell now that an event has come; nothing if it was known."""
        if isinstance(event, BatchStarted):
            return self._batch(event)
        if isinstance(event, _ENDED):
            return self._end(event)
        if isinstance(event, StepStarted | StepRetrying):
            what = _BEGIN if isinstance(event, StepStarted) else _DEFERRED
            known = not self._is_new(event.step, event.index, 2 * event.attempt + what)
        elif isinstance(event, StreamStarted | StreamChunk | StreamEnded):
            known = not self._goes_on(event)
        else:
            known = True  # the reader makes the others from the run's row, or from these
        return [] if known else [event]

    def progress(self, at: datetime) -> ProgressUpdate | None:
        """Return how far the run is, if that is further than it was when this was asked before."""
        if self.done == self._reported:
            return None
        self._reported = self.done
        return ProgressUpdate(
            run_id=self._run_id,
            timestamp=at,
            done=self.done,
            total=self.total,
            percentage=round(100 * self.done / self.total, 2) if self.total else 100.0,
        )

    def _is_new(self, step: str, index: int | None, what: int) -> bool:
        known = self._known.setdefault((step, index), set())
        if what in known:
            return False
        known.add(what)
        return True

    def _goes_on(self, event: StreamEvent) -> bool:
        """Return whether a part of a text is new; one that is missing is seen by its offset."""
        stream = (event.step, event.index, event.attempt, event.stream)
        known = self._texts.get(stream, -1)
        if isinstance(event, StreamStarted):
            reached: float = 0
        elif isinstance(event, StreamChunk):
            reached = event.offset + len(event.text)
        else:
            reached = math.inf
        if reached <= known:
            return False
        self._texts[stream] = reached
        return True

    def _end(self, event: StepCompleted | StepFailed | StepSkipped) -> list[Event]:
        if not self._is_new(event.step, event.index, _END):
            return []
        failed = isinstance(event, StepFailed)
        items = None if isinstance(event, StepSkipped) else event.items
        if items is None:
            self.done += 1
            return [event, *self._member((event.step, event.index is not None), event, failed)]
        # The node of a map stands for its items, of which some may have been cancelled.
        if not items and event.step in self._nodes:
            self.total -= 1
        rest = self._batches.get(self._batch_of.get((event.step, True), BatchId("")))
        return [event, *(self._completed(rest, event.timestamp) if rest is not None else [])]

    def _batch(self, event: BatchStarted) -> list[Event]:
        if event.batch in self._batches:
            return []
        size = len(event.steps) if event.items is None else event.items
        batch = self._batches[event.batch] = _BatchProgress(event, size)
        if (event.steps[0], event.items is not None) in self._batch_of:
            return []  # a program has come to await it by itself
        if event.items is not None:
            self.total += event.items - (event.steps[0] in self._nodes)
        else:
            self.total += sum(step not in self._nodes for step in event.steps)
        emitted: list[Event] = [event]
        for step in event.steps:
            member = (step, event.items is not None)
            self._batch_of[member] = event.batch
            for failed in self._early.pop(member, []):
                batch.open -= 1
                batch.failed += failed
        if batch.open <= 0:
            emitted += self._completed(batch, event.timestamp)
        return emitted

    def _member(self, member: tuple[str, bool], event: Event, failed: bool) -> list[Event]:  # noqa: FBT001
        name = self._batch_of.get(member)
        if name is None:
            self._early.setdefault(member, []).append(failed)
            return []
        batch = self._batches[name]
        batch.open -= 1
        batch.failed += failed
        return self._completed(batch, event.timestamp) if batch.open == 0 else []

    def _completed(self, batch: _BatchProgress, at: datetime) -> list[Event]:
        if batch.open < 0:
            return []
        batch.open = -1
        started = batch.started
        return [
            BatchCompleted(
                run_id=self._run_id,
                timestamp=at,
                batch=started.batch,
                steps=started.steps,
                items=started.items,
                failed=batch.failed,
            )
        ]
