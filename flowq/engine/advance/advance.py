"""Advance: the one place where a run moves on.

When steps have ended, their dependents are counted down, in the same transaction that records the
end; whoever reaches zero is decided by the planner and queued, expanded, skipped or cancelled. Only
what the ended steps touch is read, so the cost of a run is linear in its steps. A step whose
condition or list must be read first stays pending at zero: its values are loaded outside the
transaction, and the next one decides it. Everything is guarded in the rows, so any of this may be
called at any time, by anyone, twice at once. Messages are sent after the commit; what is lost then,
the sweeper sends again.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from flowq.core.errors import RunUnreadable
from flowq.core.graph import Graph
from flowq.core.ids import (
    BatchId,
    BatchKind,
    RunId,
    StepRunId,
    batch_of_items,
    batch_of_nodes,
    item_id,
    node_id,
    parse_batch,
)
from flowq.core.planner import map_outcome, plan, stops_run
from flowq.core.spec import StepKind, StepSpec
from flowq.core.states import StepState
from flowq.engine.advance.child_runs import cancel_orphans
from flowq.engine.advance.conditions import Evaluation, evaluate_conditions
from flowq.engine.advance.dispatch import message, node_batch, send
from flowq.engine.advance.finish import finish_if_done
from flowq.engine.advance.unreadable import set_aside
from flowq.engine.advance.wake import (
    end_called_map,
    end_called_maps,
    map_failure,
    timers_due,
    wake,
    wake_after,
)
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.events.failure_log import log_failed_map
from flowq.engine.model.rows import Batch, Definition, NewStep, StepRef
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction

logger = logging.getLogger(__name__)

#: What may have started child runs.
_WITH_CHILDREN = frozenset({StepKind.FLOW, StepKind.PROGRAM})


@dataclass(slots=True)
class AdvanceOutcome:
    """What one transaction of an advance has led to."""

    batches: list[Batch] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    #: Whether it has cancelled steps, whose child runs nobody waits for any more.
    cancelled: bool = False
    #: What there is to tell once it is committed.
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
        """Tell something once this transaction is committed."""
        self._progress.after_commit.append(callback)

    def ended(self, states: Mapping[str, StepState]) -> AdvanceOutcome:
        """Go on after nodes that have ended and that this transaction has marked as advanced."""
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
        """Queue steps that waited for nothing but what has just ended, and take them from `counts`.

        Counting them down first would be a second write to the same rows.
        """
        at_once = [key for key in counts if counts[key] == len(self._graph.dependencies[key])]
        for keys in plan(self._spec, self._graph, at_once, states, {}).batches:
            if len({counts[key] for key in keys}) == 1:
                self._queue(keys, ended=counts[keys[0]])
                for key in keys:
                    del counts[key]

    def decide(self, keys: Iterable[str], facts: Evaluation) -> AdvanceOutcome:
        """Decide about pending steps that wait for nothing."""
        return self.ended(self._decide(list(keys), {}, facts))

    def end_map(self, key: str) -> AdvanceOutcome:
        """End a map if its items allow that."""
        step = self._spec.step(key)
        counts = self._tx.steps.counts(self._run_id, key)
        outcome = map_outcome(step, counts)
        if outcome is None:
            return self._progress
        reason = map_failure(self._tx, self._run_id, key, outcome)
        if not self._end_nodes([key], outcome, reason=reason, items=sum(counts.values())):
            return self._progress
        if outcome is StepState.FAILED:
            self.on_commit(partial(log_failed_map, self._run_id, step, reason, called=False))
            if self._tx.steps.cancel_open(self._run_id, key):
                self._progress.cancelled = True
        return self.ended({key: outcome})

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
        """Apply the planner's plan; returns the steps that it has ended at once."""
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
            ended |= self._begin_map(key, facts.lists.get(key))
        return ended

    def _end_nodes(
        self,
        keys: Sequence[str],
        state: StepState,
        *,
        reason: str | None = None,
        items: int | None = None,
        map_size: int | None = None,
    ) -> dict[str, StepState]:
        """End nodes that need no attempt; returns those that this has ended."""
        if not keys:
            return {}
        ended = self._tx.steps.end_nodes(
            self._run_id, keys, state, reason=reason, map_size=map_size
        )
        told = partial(publish.node_ended, self._engine, self._run_id, error=reason, items=items)
        for key in ended:
            self.on_commit(partial(told, key=key, state=state))
        return dict.fromkeys(ended, state)

    def _begin_map(self, key: str, items: Sequence[Any] | None) -> dict[str, StepState]:
        """Expand a map whose list is known; one without items has ended at once."""
        if items is None:
            self._progress.undecided.append(key)
        elif items:
            self._expand(self._spec.step(key), items)
        else:
            return self._end_nodes([key], StepState.COMPLETED, items=0, map_size=0)
        return {}

    def _queue(self, keys: Sequence[str], ended: int = 0) -> None:
        batch = batch_of_nodes(self._run_id, node_id(self._run_id, keys[0]))
        resend_after = self._engine.policies.resend_after
        queued = self._tx.steps.queue(self._run_id, batch, keys, resend_after, ended=ended)
        if queued:
            ours = [key for key in keys if key in queued]
            self._progress.batches.append(node_batch(self._engine, self._definition, batch, ours))

    def _expand(self, step: StepSpec, items: Sequence[Any]) -> None:
        assert step.map is not None
        node = node_id(self._run_id, step.key)
        order = self._graph.order[step.key]
        rows = [
            NewStep(item_id(node, index), step.key, step.name, order, 0, {step.map.parameter: item})
            for index, item in enumerate(items)
        ]
        batch = batch_of_items(node)
        resend_after = self._engine.policies.resend_after
        if self._tx.steps.expand(self._run_id, step.key, rows, batch, resend_after):
            messages = tuple(message(self._run_id, step, index) for index in range(len(items)))
            in_chord = len(messages) >= self._engine.policies.chord_from
            self._progress.batches.append(Batch(batch, messages, in_chord))


def advance(
    engine: Engine, run_id: RunId, work: Callable[[Advance, Transaction], AdvanceOutcome]
) -> None:
    """Run `work` in a transaction, send what it queued, and go on until nothing is left to decide.

    When nothing was queued the run may be at its end; then it is finished, and a run whose step has
    waited for this one is advanced in turn.
    """
    known = engine.definitions.get(run_id)
    definition, graph = known.definition, known.graph

    def once(work: Callable[[Advance, Transaction], AdvanceOutcome]) -> AdvanceOutcome:
        progress = engine.records.transaction(
            lambda tx: work(Advance(engine, tx, definition, graph), tx)
        )
        for callback in progress.after_commit:
            callback()
        send(engine, progress.batches)
        if progress.cancelled and any(
            step.kind in _WITH_CHILDREN for step in definition.spec.steps
        ):
            cancel_orphans(engine, run_id)
        return progress

    progress = once(work)
    moved = bool(progress.batches)
    while undecided := progress.undecided:
        facts = evaluate_conditions(engine, definition, undecided)
        progress = once(partial(_decide_with, keys=undecided, facts=facts))
        moved = moved or bool(progress.batches)
    if not moved:
        finish(engine, run_id)


def finish(engine: Engine, run_id: RunId) -> None:
    """Finish a run if all its steps have ended, and advance the run whose step waited for it."""
    parent = finish_if_done(engine, engine.definitions.get(run_id).definition)
    if parent is not None:
        step_ended(engine, parent)


def _decide_with(
    step: Advance, _tx: Transaction, *, keys: Sequence[str], facts: Evaluation
) -> AdvanceOutcome:
    return step.decide(keys, facts)


def step_ended(engine: Engine, step_id: StepRunId) -> None:
    """Go on after a step that ended without advancing: its child run did, or its batch was lost."""
    node = engine.records.autocommit(lambda tx: tx.steps.node(step_id))
    if node is None:
        return
    if engine.definitions.get(node.run_id).is_called(node.key):
        call_ended(engine, node)
    else:
        advance(engine, node.run_id, lambda step, tx: _unadvanced(step, tx, node))


def call_ended(engine: Engine, place: StepRef) -> None:
    """Go on after a row that a program has called: it is woken, or its run may be at its end."""
    ended = wake_after if place.map_index is None else end_called_map
    if not ended(engine, place.run_id, place.key):
        finish(engine, place.run_id)


def batch_ended(engine: Engine, batch: BatchId) -> None:
    """Go on after a batch: the body, and the error callback, of its chord."""
    kind, named = parse_batch(batch)
    try:
        _batch_ended(engine, batch, kind, named)
    except RunUnreadable as error:
        of_item = kind is BatchKind.ITEMS
        node = (
            engine.records.autocommit(lambda tx: tx.steps.node(StepRunId(named)))
            if of_item
            else None
        )
        set_aside(engine, node.run_id if node is not None else RunId(named), error)


def _batch_ended(engine: Engine, batch: BatchId, kind: BatchKind, named: UUID) -> None:
    if kind is BatchKind.RUN:
        run_ready(engine, RunId(named))
    elif kind in (BatchKind.CALL, BatchKind.CALLS):
        if not any(
            [*end_called_maps(engine, RunId(named), batch), wake(engine, RunId(named), batch)]
        ):
            finish(engine, RunId(named))
    elif kind is BatchKind.TIMER:
        timers_due(engine, RunId(named))
    elif kind is BatchKind.NODES:
        run_id = RunId(named)
        advance(engine, run_id, lambda step, tx: step.ended(tx.steps.advance(run_id, batch)))
    else:
        node = engine.records.autocommit(lambda tx: tx.steps.node(StepRunId(named)))
        if node is None:
            logger.warning("batch %s belongs to no run; was the run deleted?", batch)
            return
        if engine.definitions.get(node.run_id).is_called(node.key):
            call_ended(engine, replace(node, map_index=0))
            return
        advance(engine, node.run_id, lambda step, _tx: step.end_map(node.key))


def not_claimed(engine: Engine, step_id: StepRunId) -> None:
    """Look after a run whose message found nothing to do: it may have stopped and be done."""
    place = engine.records.autocommit(lambda tx: tx.steps.node(step_id))
    if place is not None:
        try:
            finish(engine, place.run_id)
        except RunUnreadable as error:
            set_aside(engine, place.run_id, error)


def run_ready(engine: Engine, run_id: RunId) -> None:
    """Decide about every step of a run that waits for nothing; finish the run if all have ended."""
    advance(engine, run_id, lambda step, tx: step.decide(tx.steps.ready(run_id), Evaluation()))


def _unadvanced(step: Advance, tx: Transaction, node: StepRef) -> AdvanceOutcome:
    if node.map_index is not None:
        return step.end_map(node.key)
    return step.ended(tx.steps.advance(node.run_id, None, [node.key]))
