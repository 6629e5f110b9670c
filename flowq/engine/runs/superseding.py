"""What an enqueue does to other runs of its singleton or debounce key, in its own transaction.

    singleton, skip             a run of the key that is open is returned, and nothing recorded
    singleton, cancel_running   the open runs of the key are cancelled
    debounce                    the run of the key that has not begun is cancelled

The key is locked first, so of two enqueues at the same moment the second sees the run of the first.
A cancelled run keeps its row, with the run that has replaced it as the reason. A child run replaces
nothing and is never left out: its parent waits for it, and it waits for its turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from flowq.core.errors import InvalidInput
from flowq.core.ids import RunId, StepRunId
from flowq.core.limits.queueing import SingletonMode
from flowq.core.states import StopKind
from flowq.engine.advance.after import finish
from flowq.engine.advance.child_runs import cancel_orphans, stop
from flowq.engine.advance.unreadable import set_aside_if_unreadable
from flowq.engine.engine import Engine
from flowq.engine.model.rows import NewRun, StepRef
from flowq.engine.model.stops import StopReason
from flowq.engine.ports import Transaction


@dataclass
class Superseded:
    """What one transaction has done to other runs.

    Attributes:
        instead: From runs that are not to be inserted to those that are in flight.
        cancelled: Runs that were cancelled, to be ended after the commit.
    """

    instead: dict[RunId, RunId] = field(default_factory=dict)
    cancelled: list[RunId] = field(default_factory=list)

    def clear(self) -> None:
        """Forget what a transaction has done that was rolled back."""
        self.instead.clear()
        self.cancelled.clear()

    def admit(self, tx: Transaction, run: NewRun) -> bool:
        """Make room for a run; returns whether it is to be inserted."""
        queueing = run.spec.queueing
        if queueing is None or run.parent is not None:
            return True
        mode = queueing.singleton
        others: Sequence[RunId] = ()
        waiting: Sequence[RunId] = ()
        if mode in (SingletonMode.SKIP, SingletonMode.CANCEL_RUNNING):
            others = tx.runs.with_singleton_key(run.flow_name, queueing.singleton_key)
        if queueing.debounce is not None:
            waiting = tx.runs.in_debounce(run.flow_name, queueing.debounce_key)
        # Only under the locks of these keys is an enqueue with the same idempotency key visible:
        # its run must not be cancelled for one that is not inserted.
        if run.idempotency_key and tx.runs.with_keys(run.flow_name, [run.idempotency_key]):
            return False
        if others and mode is SingletonMode.SKIP:
            self.instead[run.id] = others[0]
            return False
        self._cancel(tx, others, run, "singleton")
        self._cancel(tx, waiting, run, "debounce")
        return True

    def _cancel(self, tx: Transaction, others: Sequence[RunId], run: NewRun, why: str) -> None:
        reason = StopReason(StopKind.SUPERSEDED, f"{why}: run {run.id} was enqueued after it")
        self.cancelled += [other for other in others if stop(tx, other, reason)]

    def end(self, engine: Engine) -> None:
        """End the cancelled runs as far as none of their steps is running, after the commit."""
        for run_id in self.cancelled:
            with set_aside_if_unreadable(engine, run_id):
                cancel_orphans(engine, run_id)
                finish(engine, run_id)


def refuse_own_ancestor(engine: Engine, flow_name: str, key: str, parent: StepRunId | None) -> None:
    """Refuse a child run that would wait for the run that waits for it.

    Raises:
        InvalidInput: a run above it has its singleton key.
    """
    while parent is not None:
        place = engine.records.autocommit(partial(_place, step=parent))
        if place is None:
            return
        above = engine.definitions.get(place.run_id).definition
        queueing = above.spec.queueing
        if (
            above.flow_name == flow_name
            and queueing is not None
            and queueing.singleton is not None
            and queueing.singleton_key == key
        ):
            raise InvalidInput(
                f"flow {flow_name!r} is a singleton, and run {above.run_id}, which has its key, "
                "waits for this child run",
                hint="give singleton_by=, so that the two have different keys",
            )
        parent = above.parent


def _place(tx: Transaction, step: StepRunId) -> StepRef | None:
    return tx.steps.node(step)
