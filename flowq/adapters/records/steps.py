"""The step runs repository: reads, writes of attempts and writes of advances in one class."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import exists, select, true

from flowq.adapters.records.advance_writes import (
    QUEUED,
    RELEASE,
    RELEASED,
    AdvanceWrites,
    queue_parameters,
)
from flowq.adapters.records.attempt_writes import COMPLETED, AttemptWrites, completion_parameters
from flowq.adapters.records.prepared import Prepared
from flowq.adapters.records.repository import STEPS
from flowq.adapters.records.step_reads import StepReads
from flowq.core.ids import BatchId
from flowq.core.states import StepState
from flowq.engine.rows import Claim, Outcome

# Both UPDATEs as one statement: either both happen or none, in one round trip and one commit.
_done = COMPLETED.returning(STEPS.c.id).cte("done")
_queued = QUEUED.where(exists(select(_done.c.id))).cte("queued")
_COMPLETE_AND_QUEUE = Prepared(
    select(_queued.c.step_key).select_from(_done.outerjoin(_queued, true()))
)

_released = RELEASED.where(exists(select(_done.c.id))).cte("released")
_COMPLETE_AND_RELEASE = Prepared(
    select(*_released.c).select_from(_done.outerjoin(_released, true()))
)


class FlowStepRunRepo(StepReads, AttemptWrites, AdvanceWrites):
    """Reads and writes `flow_step_runs` within a session or a connection; never commits."""

    def complete_and_queue(
        self,
        claim: Claim,
        outcome: Outcome,
        batch: BatchId,
        keys: Sequence[str],
        resend_after: timedelta,
    ) -> list[str] | None:
        """Complete a step and queue those that waited for nothing else; None if its lease is lost.

        One statement on PostgreSQL. SQLite changes rows in no CTE: there it needs a transaction.
        """
        if self._connection.dialect.name == "sqlite":
            if not self.complete(claim, outcome, advanced=True):
                return None
            return self.queue(claim.run_id, batch, keys, resend_after, ended=1)
        given = {
            **completion_parameters(claim, outcome, advanced=True),
            **queue_parameters(claim.run_id, batch, resend_after, ended=1),
            "p_keys": list(keys),
        }
        rows = self._run(_COMPLETE_AND_QUEUE, given).all()
        return [row[0] for row in rows if row[0] is not None] if rows else None

    def complete_and_release(
        self, claim: Claim, outcome: Outcome, dependents: Sequence[str]
    ) -> dict[str, tuple[int, StepState]] | None:
        """Complete a step and count its dependents down by one; None if its lease is lost."""
        counting = {"p_run": claim.run_id, "p_keys": list(dependents), "p_count": 1}
        if self._connection.dialect.name == "sqlite":
            if not self.complete(claim, outcome, advanced=True):
                return None
            rows = self._run(RELEASE, counting).all()
        else:
            given = {**completion_parameters(claim, outcome, advanced=True), **counting}
            rows = self._run(_COMPLETE_AND_RELEASE, given).all()
            if not rows:
                return None
        return {row[0]: (row[1], StepState(row[2])) for row in rows if row[0] is not None}
