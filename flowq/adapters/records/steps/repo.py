"""The step runs repository: reads, writes of attempts and writes of advances in one class."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, Float, and_, bindparam, case, exists, select, true, update

from flowq.adapters.records.control.cancel import StepCancels
from flowq.adapters.records.control.pause import StepPauses
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import STEPS
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.advance import AdvanceWrites
from flowq.adapters.records.steps.attempts import COMPLETED, AttemptWrites, completion_parameters
from flowq.adapters.records.steps.handback import Returns
from flowq.adapters.records.steps.program_reads import ProgramReads
from flowq.adapters.records.steps.reads import StepReads
from flowq.adapters.records.steps.stored import NODES
from flowq.adapters.records.steps.suspend import ProgramWrites
from flowq.adapters.records.steps.wake import ProgramWakes
from flowq.core.states import StepState
from flowq.engine.model.rows import Claim, Outcome, Together

_C = STEPS.c
_sibling = STEPS.alias("sibling")
_SIBLING_NOT_COMPLETED = exists().where(
    _sibling.c.flow_run_id == bindparam("p_run"),
    _sibling.c.step_key.in_(bindparam("p_siblings", expanding=True)),
    _sibling.c.map_index.is_(None),
    _sibling.c.status != StepState.COMPLETED,
)
#: The count is that of the row as it stands when its lock is held, so of two siblings that complete
#: at once one reaches zero; but each may see the other as running, and then the row stays pending.
_FREE = and_(
    bindparam("p_together", type_=Boolean),
    _C.pending_dependencies == 1,
    _C.status == StepState.PENDING,
    ~_SIBLING_NOT_COMPLETED,
)
_RELEASED = (
    update(STEPS)
    .where(NODES)
    .values(
        pending_dependencies=_C.pending_dependencies - 1,
        status=case((_FREE, StepState.QUEUED), else_=_C.status),
        batch_id=case((_FREE, bindparam("p_batch")), else_=_C.batch_id),
        wake_at=case((_FREE, DbNow(bindparam("p_resend", type_=Float))), else_=_C.wake_at),
    )
    .returning(_C.step_key, _C.pending_dependencies, _C.status)
)
_RELEASE = Prepared(_RELEASED)

# Both UPDATEs as one statement: either both happen or none, in one round trip and one commit.
_done = COMPLETED.returning(STEPS.c.id).cte("done")
_released = _RELEASED.where(exists(select(_done.c.id))).cte("released")
_COMPLETE_AND_RELEASE = Prepared(
    select(*_released.c).select_from(_done.outerjoin(_released, true()))
)


class FlowStepRunRepo(
    StepReads,
    AttemptWrites,
    Returns,
    AdvanceWrites,
    StepCancels,
    StepPauses,
    ProgramReads,
    ProgramWrites,
    ProgramWakes,
):
    """Reads and writes `flow_step_runs` within a session or a connection; never commits."""

    def complete_and_release(
        self,
        claim: Claim,
        outcome: Outcome,
        dependents: Sequence[str],
        together: Together | None = None,
    ) -> dict[str, tuple[int, StepState]] | None:
        """Complete a step and count its dependents down by one; None if its lease is lost.

        One statement on PostgreSQL. SQLite changes rows in no CTE: there it needs a transaction.
        """
        counting: dict[str, Any] = {
            "p_run": claim.run_id,
            "p_keys": list(dependents),
            "p_together": together is not None,
            "p_siblings": list(together.siblings) if together else [],
            "p_batch": together.batch if together else None,
            "p_resend": together.resend_after.total_seconds() if together else 0.0,
        }
        if self._connection.dialect.name == "sqlite":
            if not self.complete(claim, outcome, advanced=True):
                return None
            rows = self._run(_RELEASE, counting).all()
        else:
            given = {**completion_parameters(claim, outcome, advanced=True), **counting}
            rows = self._run(_COMPLETE_AND_RELEASE, given).all()
            if not rows:
                return None
        return {row[0]: (row[1], StepState(row[2])) for row in rows if row[0] is not None}
