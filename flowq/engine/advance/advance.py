"""One transaction that advances a run; its callers, and the steps after it, are in `after`.

The transaction that records the end of steps also decrements the counters of their dependents. The
planner decides about each step that reaches zero: it is queued, expanded, skipped or cancelled.
Only rows that depend on the ended steps are read, so the cost of a run is linear in its steps. A
step whose condition or list must be read first stays pending at zero: its values are loaded outside
the transaction, and the next one decides it. All updates are guarded, so these functions are
idempotent and safe to call concurrently. Messages are sent after the commit; the sweeper resends
lost ones.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from flowq.core.graph import Graph
from flowq.core.ids import batch_of_items, batch_of_nodes, item_id, node_id
from flowq.core.planner import map_outcome, plan, stops_run
from flowq.core.spec import StepKind, StepSpec
from flowq.core.states import StepState
from flowq.engine.advance.conditions import Evaluation
from flowq.engine.advance.dispatch import batch_of, first_look, message, node_batch, share_of
from flowq.engine.advance.passed_failures import HINT, passed_failure
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.events.failure_log import log_failed_map
from flowq.engine.model.lazy_rows import LazySequence
from flowq.engine.model.reruns import ReusedStep
from flowq.engine.model.rows import Batch, Definition, NewStep
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class AdvanceOutcome:
    """The outcome of one transaction of an advance."""

    batches: list[Batch] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    #: Whether it has cancelled steps, so that their child runs are orphans.
    cancelled: bool = False
    #: A map that a program called and that has ended.
    called: str | None = None
    #: Callbacks to run after the commit.
    after_commit: list[Callable[[], None]] = field(default_factory=list)


class Advance:
    """One transaction's worth of advancing a run."""

    def __init__(
        self, engine: Engine, tx: Transaction, definition: Definition, graph: Graph
    ) -> None:
        self._engine = engine
        self._tx = tx
        self._definition = definition
        self._run_id = definition.run_id
        self._spec = definition.spec
        self._graph = graph
        self._progress = AdvanceOutcome()

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Register a callback to run once this transaction is committed."""
        self._progress.after_commit.append(callback)

    def ended(self, states: Mapping[str, StepState]) -> AdvanceOutcome:
        """Advance after nodes that have ended and that this transaction has marked as advanced."""
        while states:
            for key, state in states.items():
                if state is StepState.FAILED:
                    self.failed(self._spec.step(key))
            counts = Counter(d for key in states for d in self._graph.dependents[key])
            self._queue_at_once(counts, states)
            free = self._tx.steps.release(self._run_id, counts) if counts else []
            states = self._decide(free, states, Evaluation())
        return self._progress

    def _queue_at_once(self, counts: Counter[str], states: Mapping[str, StepState]) -> None:
        """Queue steps whose last open dependencies have just ended, and remove them from `counts`.

        Decrementing their counters first would be a second write to the same rows.
        """
        at_once = [key for key in counts if counts[key] == len(self._graph.dependencies[key])]
        for keys in plan(self._spec, self._graph, at_once, states, {}).batches:
            if len({counts[key] for key in keys}) == 1:
                self._queue(keys, ended=counts[keys[0]])
                for key in keys:
                    del counts[key]

    def decide(self, keys: Iterable[str], facts: Evaluation) -> AdvanceOutcome:
        """Decide about pending steps without open dependencies."""
        return self.ended(self._decide(list(keys), {}, facts))

    def end_map(self, step: StepSpec) -> AdvanceOutcome:
        """End a map if its items allow that.

        A map that a program called is not advanced here: its program is woken after the commit,
        also when another process has ended the map.
        """
        key, counts = step.key, self._tx.steps.counts(self._run_id, step.key)
        outcome = map_outcome(step, counts)
        if outcome is None:
            return self._progress
        called = key not in self._spec.by_key
        self._progress.called = key if called else None
        failed = outcome is StepState.FAILED
        reason = self._why_map_failed(key, counts) if failed else None
        items = sum(counts.values())
        if not self._end_nodes([key], outcome, reason=reason, items=items, advanced=not called):
            return self._progress
        if failed:
            self.on_commit(partial(log_failed_map, self._run_id, step, reason, called=called))
            cancelled = self._tx.steps.cancel_open(self._run_id, key)
            if cancelled and step.kind is StepKind.FLOW:
                self._progress.cancelled = True
        return self._progress if called else self.ended({key: outcome})

    def _why_map_failed(self, key: str, counts: Mapping[StepState, int]) -> str:
        """Return why a map has failed, from how many of its items are in each state."""
        first = self._tx.steps.first_failed_item(self._run_id, key)
        failed = f"{counts[StepState.FAILED]} of {sum(counts.values())} items failed"
        if first is None:
            return failed
        what = f"{failed}; first: [{first.map_index}] {first.error_type}: {first.error_message}"
        return f"{what}: {HINT}" if passed_failure(first.metadata) is not None else what

    def failed(self, step: StepSpec, message: str | None = None) -> AdvanceOutcome:
        """Stop the run if the failure of this step does that."""
        if not stops_run(self._spec, step):
            return self._progress
        if message is None:
            row = self._tx.steps.stored(self._run_id, [step.key])[0]
            message = row.error_message or "failed"
        reason = StopReason.of_step(self._run_id, step.key, message)
        stopped = self._tx.runs.stop(self._run_id, reason)
        if stopped and self._tx.steps.cancel_open(self._run_id):
            self._progress.cancelled = True
        return self._progress

    def _decide(
        self, ready: Sequence[str], known: Mapping[str, StepState], facts: Evaluation
    ) -> dict[str, StepState]:
        """Apply the planner's plan; returns the steps that it ended immediately."""
        if not ready:
            return {}
        unknown = {d for key in ready for d in self._graph.dependencies[key]} - known.keys()
        states = {**known, **(self._tx.steps.states(self._run_id, unknown) if unknown else {})}
        broken = [key for key in ready if key in facts.errors]
        decided = plan(
            self._spec,
            self._graph,
            [key for key in ready if key not in facts.errors],
            states,
            facts.conditions,
        )
        for keys in decided.batches:
            self._queue(keys)
        self._progress.undecided += decided.evaluate
        ended = {
            **self._end_nodes(decided.skip, StepState.SKIPPED),
            **self._end_nodes(decided.cancel, StepState.CANCELLED),
        }
        for key in broken:
            ended |= self._end_nodes([key], StepState.FAILED, reason=facts.errors[key])
        for key in decided.expand:
            ended |= self._begin_map(key, facts.lists.get(key), facts.reused.get(key, {}))
        return ended

    def _end_nodes(
        self,
        keys: Sequence[str],
        state: StepState,
        *,
        reason: str | None = None,
        items: int | None = None,
        map_size: int | None = None,
        advanced: bool = True,
    ) -> dict[str, StepState]:
        """End nodes that need no attempt; returns those that this call has ended."""
        if not keys:
            return {}
        ended = self._tx.steps.end_nodes(
            self._run_id, keys, state, reason=reason, map_size=map_size, advanced=advanced
        )
        emit = partial(publish.node_ended, self._engine, self._run_id, error=reason, items=items)
        for key in ended:
            self.on_commit(partial(emit, key=key, state=state))
        return dict.fromkeys(ended, state)

    def _begin_map(
        self, key: str, items: Sequence[Any] | None, reused: Mapping[int, ReusedStep]
    ) -> dict[str, StepState]:
        """Expand a map whose list is known; one without items that run ends immediately."""
        if items is None:
            self._progress.undecided.append(key)
        elif items:
            expanded = self._expand(self._spec.step(key), items, reused)
            if expanded and len(reused) == len(items):
                return self._end_nodes([key], StepState.COMPLETED, items=len(items))
        else:
            return self._end_nodes([key], StepState.COMPLETED, items=0, map_size=0)
        return {}

    def _queue(self, keys: Sequence[str], ended: int = 0) -> None:
        engine, definition = self._engine, self._definition
        batch = batch_of_nodes(self._run_id, node_id(self._run_id, keys[0]))
        share = share_of(definition, len(keys), follow=bool(self._graph.dependencies[keys[0]]))
        look = first_look(engine, definition, share)
        queued = self._tx.steps.queue(self._run_id, batch, keys, look, ended=ended)
        if queued:
            ours = [key for key in keys if key in queued]
            self._progress.batches.append(node_batch(engine, definition, batch, ours, share))

    def _expand(
        self, step: StepSpec, items: Sequence[Any], reused: Mapping[int, ReusedStep]
    ) -> bool:
        """Insert the items of a map, and queue those that are not reused."""
        assert step.map is not None
        node, parameter = node_id(self._run_id, step.key), step.map.parameter
        order = self._graph.order[step.key]

        def row(index: int) -> NewStep:
            inputs = {parameter: items[index]}
            return NewStep(item_id(node, index), step.key, step.name, order, 0, inputs)

        rows = LazySequence(len(items), row)
        batch = batch_of_items(node)
        engine, definition = self._engine, self._definition
        share = definition.spec.share
        look = first_look(engine, definition, share)
        if not self._tx.steps.expand(
            self._run_id, step.key, rows, batch, look, reused=reused, share=share
        ):
            return False
        kept = tuple(reused.values())
        whole = len(kept) == len(items)  # otherwise the batch of the others begins it
        self.on_commit(partial(publish.reused, self._engine, self._run_id, kept, begin=whole))
        run_id, new = self._run_id, range(len(items))
        indices = [index for index in new if index not in reused] if reused else new
        messages = LazySequence(len(indices), lambda place: message(run_id, step, indices[place]))
        if messages:
            one = batch_of(engine, definition, batch, messages, share)
            self._progress.batches.append(replace(one, reused=len(reused)))
        return True
