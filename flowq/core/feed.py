"""Filters the events of a run for a reader, and computes those that need counting.

Events come from many processes and two sources, the run's stream and its rows, so some come twice,
and a few come late. The feed passes each once, by its content: a step begins an attempt once, is
retried once per attempt, and ends once; a budget warns once, until it is raised. From these it
computes when a batch has completed and the progress of the run, which would cost the database a
count for each step.

Events of attempts are passed in the order of arrival: after a step has moved to another worker, an
event of the first attempt may come after one of the second. Compare `attempt`, or `timestamp`.
"""

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from flowq.core.events import (
    BatchCompleted,
    BatchStarted,
    BudgetWarning,
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
#: The facts about a step that are known: its end; for each attempt, its begin and its failure.
_END, _BEGIN, _DEFERRED = 0, 1, 2


@dataclass(slots=True)
class _BatchProgress:
    started: BatchStarted
    open: int
    failed: int = 0


class Feed:
    """The events of one run for one reader.

    Args:
        nodes: Keys of the steps of its flow; a program adds its calls.

    Attributes:
        done: How many step runs have ended, without cancelled ones.
        total: How many there are, as far as is known.
    """

    def __init__(self, run_id: RunId, nodes: AbstractSet[str]) -> None:
        self.done = 0
        self.total = len(nodes)
        self._nodes = nodes
        self._run_id = run_id
        self._reported = 0
        self._warnings: set[tuple[object, ...]] = set()
        self._known: dict[tuple[str, int | None], set[int]] = {}
        self._batches: dict[BatchId, _BatchProgress] = {}
        #: From a step, or a map's items, to their batch.
        self._batch_of: dict[tuple[str, bool], BatchId] = {}
        #: The length of each text so far.
        self._texts: dict[tuple[str, int | None, int, int], float] = {}
        #: Steps that ended before their batch was known: whether they failed, and when.
        self._early: dict[tuple[str, bool], list[tuple[bool, datetime]]] = {}

    def take(self, event: Event) -> list[Event]:
        """Return the events to yield after an event has come; empty if it was known."""
        if isinstance(event, BatchStarted):
            return self._batch(event)
        if isinstance(event, _ENDED):
            return self._end(event)
        if isinstance(event, StepStarted | StepRetrying):
            what = _BEGIN if isinstance(event, StepStarted) else _DEFERRED
            known = not self._is_new(event.step, event.index, 2 * event.attempt + what)
        elif isinstance(event, StreamStarted | StreamChunk | StreamEnded):
            known = not self._is_new_text(event)
        elif isinstance(event, BudgetWarning):
            budget = (event.budget_of, event.budget_usd, event.budget_tokens)
            warning = (*budget, event.share, event.cost, event.tokens)
            known = warning in self._warnings
            self._warnings.add(warning)
        else:
            known = True  # the reader makes the others from the run's row, or from these
        return [] if known else [event]

    def progress(self, at: datetime) -> ProgressUpdate | None:
        """Return the progress of the run, if it has grown since the last call."""
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

    def _is_new_text(self, event: StreamEvent) -> bool:
        """Return whether a piece of a text is new; missing ones are seen by the offset."""
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
        # The node of a map ends all its items, of which some may be cancelled.
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
            return []  # a program now awaits it alone
        if event.items is not None:
            self.total += event.items - (event.steps[0] in self._nodes)
        else:
            self.total += sum(step not in self._nodes for step in event.steps)
        emitted: list[Event] = [event]
        ended_at = event.timestamp
        for step in event.steps:
            member = (step, event.items is not None)
            self._batch_of[member] = event.batch
            for failed, at in self._early.pop(member, []):
                batch.open -= 1
                batch.failed += failed
                ended_at = max(ended_at, at)
        if batch.open <= 0:
            emitted += self._completed(batch, ended_at)
        return emitted

    def _member(self, member: tuple[str, bool], event: Event, failed: bool) -> list[Event]:  # noqa: FBT001
        name = self._batch_of.get(member)
        if name is None:
            self._early.setdefault(member, []).append((failed, event.timestamp))
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
